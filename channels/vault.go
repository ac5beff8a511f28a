package channels

import (
	"context"
	"fmt"
	"sync"

	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/pg"
)

// vault seals what belongs to no birth: account secrets and raw callbacks. Its data key lives, wrapped, in
// channels.settings and is made on first use.
type vault struct {
	ring *crypt.Ring
	db   pg.DB // never a caller's transaction: the key must outlive its rollback
	mu   sync.Mutex
	key  *crypt.Key
}

// nobody is the birth number under which the schema's own key is wrapped.
const nobody = 0

func newVault(ring *crypt.Ring, db pg.DB) *vault { return &vault{ring: ring, db: db} }

const wrappedKeySQL = `
SELECT wrapped_key
FROM channels.settings`

// Two processes may make a key at once; the first one stands.
const setWrappedKeySQL = `
UPDATE channels.settings
SET wrapped_key = COALESCE(wrapped_key, @wrapped)
RETURNING wrapped_key`

func (v *vault) get(ctx context.Context) (crypt.Key, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.key != nil {
		return *v.key, nil
	}
	var wrapped []byte
	if err := v.db.QueryRow(ctx, wrappedKeySQL).Scan(&wrapped); err != nil {
		return crypt.Key{}, fmt.Errorf("read sealing key: %w", err)
	}
	if wrapped == nil {
		_, fresh := v.ring.NewKey(nobody)
		if err := v.db.QueryRow(ctx, setWrappedKeySQL, pg.Args{"wrapped": fresh}).Scan(&wrapped); err != nil {
			return crypt.Key{}, fmt.Errorf("store sealing key: %w", err)
		}
	}
	key, err := v.ring.Unwrap(nobody, wrapped)
	if err != nil {
		return crypt.Key{}, fmt.Errorf("unwrap sealing key: %w", err)
	}
	v.key = &key
	return key, nil
}

func (v *vault) seal(ctx context.Context, kind string, clear []byte) ([]byte, error) {
	if len(clear) == 0 {
		return nil, nil
	}
	key, err := v.get(ctx)
	if err != nil {
		return nil, err
	}
	return key.Seal(kind, string(clear)), nil
}

func (v *vault) open(ctx context.Context, kind string, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	key, err := v.get(ctx)
	if err != nil {
		return nil, err
	}
	clear, err := key.Open(kind, sealed)
	return []byte(clear), err
}
