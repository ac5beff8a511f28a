package identity

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// Service is the identity graph.
type Service struct {
	db    pg.DB
	clock clock.Clock
	ring  *crypt.Ring
	log   *activity.Log
	bus   *events.Bus
}

// New returns the graph on a pool.
func New(db pg.DB, clk clock.Clock, ring *crypt.Ring, log *activity.Log, bus *events.Bus) *Service {
	return &Service{db: db, clock: clk, ring: ring, log: log, bus: bus}
}

const clusterSQL = `
SELECT o.root, (SELECT array_agg(c.birth ORDER BY c.birth) FROM member.births c WHERE c.root = o.root)
FROM member.births o
WHERE o.birth = @birth`

// Cluster returns the member or visitor that holds a birth. ErrNotFound if there is no such birth.
func (s *Service) Cluster(ctx context.Context, db pg.DB, birth member.Birth) (Cluster, error) {
	var c Cluster
	err := db.QueryRow(ctx, clusterSQL, pg.Args{"birth": birth}).Scan(&c.Root, &c.Births)
	if pg.NoRows(err) {
		return Cluster{}, ErrNotFound.With("id", birth)
	}
	if err != nil {
		return Cluster{}, fmt.Errorf("cluster of %s: %w", birth, err)
	}
	return c, nil
}

const lockMemberSQL = `
SELECT m.id
FROM member.members m
WHERE m.id = (SELECT root FROM member.births WHERE birth = @birth)
FOR NO KEY UPDATE`

// LockMember locks the member that holds a birth for the rest of the transaction and returns its cluster as it is under
// the lock. Whatever counts over a member (balances, limits, enrolment) is read after it. Of several members, lock the
// smaller root first; observe before locking.
func (s *Service) LockMember(ctx context.Context, tx pgx.Tx, birth member.Birth) (Cluster, error) {
	// The member may merge between the look and the lock; then its row is gone, or is another's, and the look repeats.
	for range 5 {
		var locked member.ID
		err := tx.QueryRow(ctx, lockMemberSQL, pg.Args{"birth": birth}).Scan(&locked)
		if err != nil && !pg.NoRows(err) {
			return Cluster{}, fmt.Errorf("lock member of %s: %w", birth, err)
		}
		c, cerr := s.Cluster(ctx, tx, birth)
		if cerr != nil {
			return Cluster{}, cerr
		}
		if err == nil && c.Root == locked {
			return c, nil
		}
	}
	return Cluster{}, fmt.Errorf("member of %s keeps merging: %w", birth, pg.ErrRetry)
}
