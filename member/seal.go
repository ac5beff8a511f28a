package member

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/pg"
)

// Opened is personal data of a birth together with the key it is sealed under, so that the reader can seal what it makes
// of the data (a rendered message) for the same birth without asking again.
type Opened struct {
	Value crypt.Personal
	Key   crypt.Key
}

// OpenWithKeys is Open for one kind, with keys.
func (s *Secrets) OpenWithKeys(ctx context.Context, db pg.DB, births []Birth, kind string) (map[Birth]Opened, error) {
	list := make([]int64, len(births))
	for i, b := range births {
		list[i] = int64(b)
	}
	rows, err := db.Query(ctx, openSecretsSQL, pg.Args{"births": list, "kinds": []string{kind}})
	if err != nil {
		return nil, fmt.Errorf("open personal data: %w", err)
	}
	out := make(map[Birth]Opened, len(births))
	var (
		birth           int64
		found           string
		sealed, wrapped []byte
	)
	_, err = pgx.ForEachRow(rows, []any{&birth, &found, &sealed, &wrapped}, func() error {
		key, err := s.ring.Unwrap(birth, wrapped)
		if err != nil {
			return err
		}
		clear, err := key.Open(found, sealed)
		if err != nil {
			return err
		}
		out[Birth(birth)] = Opened{crypt.PersonalOf(found, clear), key}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open personal data: %w", err)
	}
	return out, nil
}

// OpenSealed opens what was sealed under the key of a birth. ErrNoSecret if the person was erased.
func (s *Secrets) OpenSealed(ctx context.Context, db pg.DB, birth Birth, kind string, sealed []byte) (string, error) {
	keys, err := s.keys(ctx, db, []int64{int64(birth)})
	if err != nil {
		return "", err
	}
	key, ok := keys[birth]
	if !ok {
		return "", ErrNoSecret
	}
	return key.Open(kind, sealed)
}

// DataKey is the data key of one birth, asked for in a batch of the caller's (QueueKey).
type DataKey struct {
	ring  *crypt.Ring
	birth Birth
	key   crypt.Key
	found bool
}

// QueueKey asks for the data key of a birth in a batch; the result is usable once the batch has been sent.
func (s *Secrets) QueueKey(b *pgx.Batch, birth Birth) *DataKey {
	k := &DataKey{ring: s.ring, birth: birth}
	b.Queue(loadKeysSQL, pg.Args{"births": []int64{int64(birth)}}).Query(func(rows pgx.Rows) error {
		var owner int64
		var wrapped []byte
		_, err := pgx.ForEachRow(rows, []any{&owner, &wrapped}, func() (err error) {
			k.found = true
			k.key, err = s.ring.Unwrap(owner, wrapped)
			return err
		})
		return err
	})
	return k
}

// Seal seals a value for the birth, so that OpenSealed opens it until the person is erased. A birth without a key gets one:
// its insertion is queued to b, which the caller sends in the same transaction.
func (k *DataKey) Seal(b *pgx.Batch, kind, value string) []byte {
	if !k.found {
		var wrapped []byte
		k.key, wrapped = k.ring.NewKey(int64(k.birth))
		k.found = true
		b.Queue(insertKeysSQL, pg.Args{"births": []int64{int64(k.birth)}, "wrapped": [][]byte{wrapped}}).Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() != 1 {
				return fmt.Errorf("another transaction made a key first: %w", pg.ErrRetry)
			}
			return nil
		})
	}
	return k.key.Seal(kind, value)
}
