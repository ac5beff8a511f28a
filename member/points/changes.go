package points

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// move is one thing done to points.
type move struct {
	Key       id.UUID
	Hash      []byte
	Kind      string
	Birth     member.Birth
	Programme string
	Points    int64
	At        time.Time
	Of        *id.UUID
	Reason    string
}

// The kinds of moves.
const (
	moveGrant  = "grant"
	moveSpend  = "spend"
	moveRefund = "refund"
	moveRevoke = "revoke"
	moveExpire = "expire"
	moveSettle = "settle"
	moveCharge = "charge"
)

// seal computes the hash of the input: everything but the instant, because a retry may happen later.
func (m move) seal() move {
	of := ""
	if m.Of != nil {
		of = m.Of.String()
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%d\n%s\n%d\n%s\n%s", m.Kind, m.Birth, m.Programme, m.Points, of, m.Reason))
	m.Hash = sum[:]
	return m
}

func (m move) validate() error {
	switch {
	case m.Key == id.UUID{}:
		return invalid("key", "缺少幂等键", "an idempotency key is needed")
	case m.Birth <= 0:
		return invalid("birth", "缺少会员标识", "no birth is given")
	case m.Points < 1 || m.Points > MaxPoints:
		return invalid("points", "积分须为 1 到 10^12 的整数", "points are 1 to 10^12")
	case m.At.IsZero():
		return invalid("at", "缺少时间", "no time is given")
	case len(m.Reason) > 500:
		return invalid("reason", "原因最长 500 字节", "a reason has at most 500 bytes")
	}
	return nil
}

type lotKey struct {
	birth member.Birth
	key   id.UUID
}

// lotChange moves points of a lot between its places; the parts sum to zero.
type lotChange struct {
	remaining, spent, expired, revoked int64
	expiresAt                          *time.Time // a new expiry
}

type allocationKey struct {
	lotKey
	spend id.UUID
	n     int
}

// changes is everything that one call does, collected and then written in a few round trips.
type changes struct {
	moves       []move
	lots        []Lot
	lotChanges  map[lotKey]*lotChange
	allocations []allocation
	refunded    map[allocationKey]int64
	charged     map[allocationKey]int64
	debts       []debt
	settled     map[lotKey]int64
	cancelled   map[lotKey]int64
	ledger      []ledger.Transaction
	activities  []activity.Activity
}

func newChanges() *changes {
	return &changes{
		lotChanges: map[lotKey]*lotChange{},
		refunded:   map[allocationKey]int64{},
		charged:    map[allocationKey]int64{},
		settled:    map[lotKey]int64{},
		cancelled:  map[lotKey]int64{},
	}
}

func (c *changes) lot(birth member.Birth, key id.UUID) *lotChange {
	k := lotKey{birth, key}
	if c.lotChanges[k] == nil {
		c.lotChanges[k] = &lotChange{}
	}
	return c.lotChanges[k]
}

// book adds the move and its postings: pairs of account and amount that sum to zero; zero amounts are left out.
func (c *changes) book(m move, postings ...ledger.Posting) {
	c.moves = append(c.moves, m)
	t := ledger.Transaction{Key: m.Key, Book: Book(m.Programme), Kind: "points." + m.Kind, Ref: m.Birth.String(), At: m.At}
	for _, p := range postings {
		if p.Amount != 0 {
			t.Postings = append(t.Postings, p)
		}
	}
	if len(t.Postings) > 0 {
		c.ledger = append(c.ledger, t)
	}
}

// tell appends the activity of a move.
func (c *changes) tell(m move, key string, points int64, mode member.Mode) {
	props := map[string]any{"programme": m.Programme, "points": points}
	if m.Reason != "" {
		props["reason"] = m.Reason
	}
	c.activities = append(c.activities, activity.Activity{
		Birth: m.Birth, Key: key, OccurredAt: m.At, Mode: mode,
		Source: "points", DedupeKey: m.Key.String(), Props: props,
	})
}

var errMoveRace = errors.New("points: the same key was used at the same time")

// write stores the changes, posts them and logs the activities.
func (s *Service) write(ctx context.Context, tx pgx.Tx, c *changes) error {
	if len(c.moves) == 0 {
		return nil
	}
	var b pgx.Batch
	queueMoves(&b, c.moves)
	queueLots(&b, c.lots)
	queueLotChanges(&b, c.lotChanges)
	queueAllocations(&b, c.allocations)
	queueAllocationChanges(&b, c.refunded, c.charged)
	queueDebts(&b, c.debts)
	queueDebtChanges(&b, c.settled, c.cancelled)
	res := tx.SendBatch(ctx, &b)
	tag, err := res.Exec()
	if err == nil && tag.RowsAffected() != int64(len(c.moves)) {
		_ = res.Close()
		return errors.Join(errMoveRace, pg.ErrRetry)
	}
	if err := errors.Join(err, res.Close()); err != nil {
		return fmt.Errorf("write points: %w", err)
	}
	if _, err := s.ledger.Post(ctx, tx, c.ledger); err != nil {
		return fmt.Errorf("post points: %w", err)
	}
	if _, err := s.log.Append(ctx, tx, c.activities); err != nil {
		return fmt.Errorf("log points: %w", err)
	}
	return nil
}
