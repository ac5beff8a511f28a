// Package lease gives one process at a time the right to a piece of work, with fencing.
//
// A lease is a row in core.leases: name, holder, epoch, expiry. Acquire takes a free or expired lease and raises its
// epoch; Renew extends it while the epoch is still ours. Work that must not overlap calls Check inside its own
// transaction: Check locks the row FOR SHARE and compares the epoch, so a process that was paused past its lease (SIGSTOP,
// a long collection, a lost network) fails there, before it can commit anything beside its successor.
//
// Times are the database's: clocks of different machines never meet.
package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lianke/lianke/internal/pg"
)

// ErrLost says that another holder has the lease now. The work at hand must be dropped.
var ErrLost = errors.New("lease: lost to another holder")

// Lease is the right to work on Name while Epoch is current.
type Lease struct {
	Name   string
	Holder string
	Epoch  int64
	TTL    time.Duration
}

const acquireSQL = `
INSERT INTO core.leases AS l (name, holder, epoch, expires_at)
VALUES (@name, @holder, 1, clock_timestamp() + @ttl::interval)
ON CONFLICT ON CONSTRAINT leases_pkey DO UPDATE
    SET holder = excluded.holder, epoch = l.epoch + 1, expires_at = excluded.expires_at
    WHERE l.expires_at < clock_timestamp()
RETURNING epoch`

// Acquire takes the lease if it is free or expired; ok is false when somebody else holds it.
func Acquire(ctx context.Context, db pg.DB, name, holder string, ttl time.Duration) (l Lease, ok bool, err error) {
	l = Lease{Name: name, Holder: holder, TTL: ttl}
	err = db.QueryRow(ctx, acquireSQL, pg.Args{"name": name, "holder": holder, "ttl": ttl}).Scan(&l.Epoch)
	if pg.NoRows(err) {
		return Lease{}, false, nil
	}
	if err != nil {
		return Lease{}, false, fmt.Errorf("acquire lease %s: %w", name, err)
	}
	return l, true, nil
}

const renewSQL = `
UPDATE core.leases
SET expires_at = clock_timestamp() + @ttl::interval
WHERE name = @name AND epoch = @epoch`

// Renew extends the lease by its TTL from now, or returns ErrLost.
func (l Lease) Renew(ctx context.Context, db pg.DB) error {
	tag, err := db.Exec(ctx, renewSQL, pg.Args{"name": l.Name, "epoch": l.Epoch, "ttl": l.TTL})
	if err != nil {
		return fmt.Errorf("renew lease %s: %w", l.Name, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrLost
	}
	return nil
}

const checkSQL = `
SELECT 1
FROM core.leases
WHERE name = @name AND epoch = @epoch
FOR SHARE`

// Check fences the transaction db: it returns ErrLost if the lease has changed hands, and otherwise keeps it from
// changing hands until the transaction ends. Unlike Renew it lets the holder outlive its expiry while nobody waits.
func (l Lease) Check(ctx context.Context, db pg.DB) error {
	var one int
	err := db.QueryRow(ctx, checkSQL, pg.Args{"name": l.Name, "epoch": l.Epoch}).Scan(&one)
	if pg.NoRows(err) {
		return ErrLost
	}
	if err != nil {
		return fmt.Errorf("check lease %s: %w", l.Name, err)
	}
	return nil
}

const releaseSQL = `
UPDATE core.leases
SET expires_at = clock_timestamp() - interval '1 second'
WHERE name = @name AND epoch = @epoch`

// Release gives the lease back so that a successor need not wait for it to expire. A lost lease is released already.
func (l Lease) Release(ctx context.Context, db pg.DB) error {
	if _, err := db.Exec(ctx, releaseSQL, pg.Args{"name": l.Name, "epoch": l.Epoch}); err != nil {
		return fmt.Errorf("release lease %s: %w", l.Name, err)
	}
	return nil
}
