package cluster

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Locked is a member on its way to being locked.
type Locked struct {
	birth member.Birth
	root  member.ID
	found map[member.Birth]Cluster
}

// QueueLock is Lock for one birth as the first statements of a batch that the caller sends.
func QueueLock(b *pgx.Batch, birth member.Birth) *Locked {
	l := &Locked{birth: birth}
	b.Queue(lockSQL, pg.Args{"births": []member.Birth{birth}}).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&l.root}, func() error { return nil })
		return err
	})
	b.Queue(clustersSQL, pg.Args{"births": []member.Birth{birth}}).Query(func(rows pgx.Rows) (err error) {
		l.found, err = collect(rows, 1)
		return err
	})
	return l
}

// Cluster returns the member as it is under the lock, once the batch has been sent. It fails like Lock.
func (l *Locked) Cluster() (Cluster, error) {
	c, ok := l.found[l.birth]
	switch {
	case !ok:
		return Cluster{}, ErrUnknown.With("birth", l.birth)
	case c.Root != l.root:
		return Cluster{}, errors.Join(fmt.Errorf("member of birth %d changed while locking", l.birth), pg.ErrRetry)
	}
	return c, nil
}
