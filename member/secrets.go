package member

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
)

// Secret is personal data of a birth: the name somebody gave, or the clear value of an identifier. The newest statement
// of a kind stands.
type Secret struct {
	Birth  Birth
	Value  crypt.Personal
	Source string
	At     time.Time
}

// ErrNoSecret says that a birth has no such personal data, or has been erased.
var ErrNoSecret = fault.New(fault.NotFound, "member.no_secret", "没有该项个人信息,或已被删除", "there is no such personal data, or it has been erased").
	WithHint("该会员可能未留下此项信息,或资料已按要求删除", "the member may not have given it, or it was erased on request")

// Audit records that an actor (in the context) read personal data of a birth in clear, and why.
type Audit func(ctx context.Context, tx pgx.Tx, birth Birth, kind, purpose string) error

// Secrets keeps personal data encrypted under one key per birth, findable by blind tokens.
type Secrets struct {
	ring  *crypt.Ring
	audit Audit
}

// NewSecrets returns the store; audit is called for every Reveal.
func NewSecrets(ring *crypt.Ring, audit Audit) *Secrets { return &Secrets{ring, audit} }

const loadKeysSQL = `
SELECT birth, wrapped
FROM member.keys
WHERE birth = ANY(@births)`

const insertKeysSQL = `
INSERT INTO member.keys (birth, wrapped)
SELECT k.birth, k.wrapped
FROM unnest(@births::bigint[], @wrapped::bytea[]) AS k (birth, wrapped)
ORDER BY k.birth
ON CONFLICT DO NOTHING`

const putSecretsSQL = `
INSERT INTO member.secrets AS s (birth, kind, sealed, tokens, source, at)
SELECT v.birth, v.kind, v.sealed,
       ARRAY(SELECT substr(v.tokens, 16 * n + 1, 16) FROM generate_series(0, octet_length(v.tokens) / 16 - 1) AS n),
       v.source, v.at
FROM unnest(@births::bigint[], @kinds::text[], @sealed::bytea[], @tokens::bytea[], @sources::text[], @ats::timestamptz[])
    AS v (birth, kind, sealed, tokens, source, at)
ORDER BY v.birth, v.kind
ON CONFLICT (birth, kind) DO UPDATE
SET sealed = EXCLUDED.sealed, tokens = EXCLUDED.tokens, source = EXCLUDED.source, at = EXCLUDED.at
WHERE EXCLUDED.at >= s.at`

// Put seals and stores personal data, in two round trips whatever their number.
func (s *Secrets) Put(ctx context.Context, tx pgx.Tx, secrets []Secret) error {
	type slot struct {
		birth Birth
		kind  string
	}
	newest := map[slot]Secret{}
	for _, x := range secrets {
		k := slot{x.Birth, x.Value.Kind()}
		if old, ok := newest[k]; !x.Value.Empty() && (!ok || !x.At.Before(old.At)) {
			newest[k] = x
		}
	}
	n := len(newest)
	if n == 0 {
		return nil
	}
	slots := make([]slot, 0, n)
	for k := range newest {
		slots = append(slots, k)
	}
	slices.SortFunc(slots, func(x, y slot) int { return cmp.Or(cmp.Compare(x.birth, y.birth), cmp.Compare(x.kind, y.kind)) })
	births := make([]int64, n)
	for i, k := range slots {
		births[i] = int64(k.birth)
	}
	keys, err := s.keys(ctx, tx, births)
	if err != nil {
		return err
	}
	var newBirths []int64
	var wrapped [][]byte
	kinds, sealed, tokens := make([]string, n), make([][]byte, n), make([][]byte, n)
	sources, ats := make([]string, n), make([]time.Time, n)
	for i, k := range slots {
		key, ok := keys[k.birth]
		if !ok {
			var w []byte
			key, w = s.ring.NewKey(int64(k.birth))
			keys[k.birth] = key
			newBirths, wrapped = append(newBirths, int64(k.birth)), append(wrapped, w)
		}
		x := newest[k]
		kinds[i], sources[i], ats[i] = k.kind, x.Source, x.At
		sealed[i] = key.Seal(k.kind, x.Value.Reveal())
		for _, t := range s.tokens(x.Value) {
			tokens[i] = append(tokens[i], t[:]...)
		}
		if tokens[i] == nil {
			tokens[i] = []byte{}
		}
	}
	var b pgx.Batch
	inserted := int64(0)
	if len(newBirths) > 0 {
		b.Queue(insertKeysSQL, pg.Args{"births": newBirths, "wrapped": wrapped}).Exec(func(tag pgconn.CommandTag) error {
			inserted = tag.RowsAffected()
			return nil
		})
	}
	b.Queue(putSecretsSQL, pg.Args{"births": births, "kinds": kinds, "sealed": sealed, "tokens": tokens, "sources": sources, "ats": ats})
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("store personal data: %w", err)
	}
	if inserted != int64(len(newBirths)) {
		return fmt.Errorf("another transaction made a key first: %w", pg.ErrRetry)
	}
	return nil
}

func (s *Secrets) keys(ctx context.Context, db pg.DB, births []int64) (map[Birth]crypt.Key, error) {
	rows, err := db.Query(ctx, loadKeysSQL, pg.Args{"births": births})
	if err != nil {
		return nil, fmt.Errorf("load data keys: %w", err)
	}
	out := make(map[Birth]crypt.Key, len(births))
	var birth int64
	var wrapped []byte
	_, err = pgx.ForEachRow(rows, []any{&birth, &wrapped}, func() error {
		k, err := s.ring.Unwrap(birth, wrapped)
		out[Birth(birth)] = k
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load data keys: %w", err)
	}
	return out, nil
}

const openSecretsSQL = `
SELECT s.birth, s.kind, s.sealed, k.wrapped
FROM member.secrets s
JOIN member.keys k USING (birth)
WHERE s.birth = ANY(@births) AND s.kind = ANY(@kinds)`

// Open returns the clear personal data of births, for the program's own use: sending, rendering, export to a provider.
// What it returns still masks itself when printed. An operator's look goes through Reveal.
func (s *Secrets) Open(ctx context.Context, db pg.DB, births []Birth, kinds ...string) (map[Birth]map[string]crypt.Personal, error) {
	list := make([]int64, len(births))
	for i, b := range births {
		list[i] = int64(b)
	}
	rows, err := db.Query(ctx, openSecretsSQL, pg.Args{"births": list, "kinds": kinds})
	if err != nil {
		return nil, fmt.Errorf("open personal data: %w", err)
	}
	out := make(map[Birth]map[string]crypt.Personal, len(births))
	var birth int64
	var kind string
	var sealed, wrapped []byte
	_, err = pgx.ForEachRow(rows, []any{&birth, &kind, &sealed, &wrapped}, func() error {
		key, err := s.ring.Unwrap(birth, wrapped)
		if err != nil {
			return err
		}
		clear, err := key.Open(kind, sealed)
		if err != nil {
			return err
		}
		if out[Birth(birth)] == nil {
			out[Birth(birth)] = map[string]crypt.Personal{}
		}
		out[Birth(birth)][kind] = crypt.PersonalOf(kind, clear)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open personal data: %w", err)
	}
	return out, nil
}

// Reveal returns one piece of personal data in clear for an operator, and audits it in the same transaction.
func (s *Secrets) Reveal(ctx context.Context, tx pgx.Tx, birth Birth, kind, purpose string) (string, error) {
	found, err := s.Open(ctx, tx, []Birth{birth}, kind)
	if err != nil {
		return "", err
	}
	v, ok := found[birth][kind]
	if !ok {
		return "", ErrNoSecret
	}
	if err := s.audit(ctx, tx, birth, kind, purpose); err != nil {
		return "", fmt.Errorf("audit reveal: %w", err)
	}
	return v.Reveal(), nil
}

const shredSQL = `
WITH keys AS (
    DELETE FROM member.keys
    WHERE birth = ANY(@births)
)
DELETE FROM member.secrets
WHERE birth = ANY(@births)`

// Shred deletes the data keys of births, which makes their personal data unreadable for ever, backups included, and with
// them the sealed values and tokens.
func (s *Secrets) Shred(ctx context.Context, tx pgx.Tx, births []Birth) error {
	list := make([]int64, len(births))
	for i, b := range births {
		list[i] = int64(b)
	}
	if _, err := tx.Exec(ctx, shredSQL, pg.Args{"births": list}); err != nil {
		return fmt.Errorf("shred personal data: %w", err)
	}
	return nil
}

const rewrapSQL = `
UPDATE member.keys k
SET wrapped = v.wrapped
FROM unnest(@births::bigint[], @wrapped::bytea[]) AS v (birth, wrapped)
WHERE k.birth = v.birth`

const nextKeysSQL = `
SELECT birth, wrapped
FROM member.keys
WHERE birth > @after
ORDER BY birth
LIMIT 1000
FOR NO KEY UPDATE`

// Rewrap brings the data keys above a birth under the current master key, up to 1,000 at a time, and returns the birth to
// go on from; 0 when it is done.
func (s *Secrets) Rewrap(ctx context.Context, tx pgx.Tx, after Birth) (Birth, error) {
	rows, err := tx.Query(ctx, nextKeysSQL, pg.Args{"after": int64(after)})
	if err != nil {
		return 0, fmt.Errorf("rewrap keys: %w", err)
	}
	var births []int64
	var keys [][]byte
	var birth int64
	var wrapped []byte
	last := Birth(0)
	_, err = pgx.ForEachRow(rows, []any{&birth, &wrapped}, func() error {
		last = Birth(birth)
		w, changed, err := s.ring.Rewrap(birth, wrapped)
		if changed {
			births, keys = append(births, birth), append(keys, w)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("rewrap keys: %w", err)
	}
	if len(births) > 0 {
		if _, err := tx.Exec(ctx, rewrapSQL, pg.Args{"births": births, "wrapped": keys}); err != nil {
			return 0, fmt.Errorf("rewrap keys: %w", err)
		}
	}
	return last, nil
}
