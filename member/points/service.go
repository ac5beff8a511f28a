package points

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/cluster"
)

// Service grants, spends and takes back points.
type Service struct {
	db     pg.DB
	clock  clock.Clock
	ledger *ledger.Ledger
	log    *activity.Log
}

// New returns the service; db is the pool that reads and batches run on.
func New(db pg.DB, clk clock.Clock, l *ledger.Ledger, log *activity.Log) *Service {
	return &Service{db: db, clock: clk, ledger: l, log: log}
}

// Grant gives points to a birth.
type Grant struct {
	Key       id.UUID
	Birth     member.Birth
	Programme string
	Points    int64
	At        time.Time
	Reason    string
	Mode      member.Mode // live if empty
	// ActiveAt and ExpiresAt override the programme's rules, for opening balances and promises of their own.
	ActiveAt, ExpiresAt *time.Time
}

// Outcome says what became of a move.
type Outcome string

// The outcomes.
const (
	Done      Outcome = "done"
	Duplicate Outcome = "duplicate" // the same key and input were handled before; nothing changed
)

// Grant grants in bulk, all or none, and returns one outcome each. It locks no member. It fails with ErrInvalid,
// ErrNoProgramme, ErrClosed or ErrKeyReused.
func (s *Service) Grant(ctx context.Context, tx pgx.Tx, grants []Grant) ([]Outcome, error) {
	moves := make([]move, len(grants))
	for i, g := range grants {
		m := move{Key: g.Key, Kind: moveGrant, Birth: g.Birth, Programme: g.Programme, Points: g.Points, At: g.At, Reason: g.Reason}
		if err := m.validate(); err != nil {
			return nil, fmt.Errorf("grant %d: %w", i, err)
		}
		moves[i] = m.seal()
	}
	outcomes, err := s.known(ctx, tx, moves)
	if err != nil {
		return nil, fmt.Errorf("grant points: %w", err)
	}
	programmes, err := loadProgrammes(ctx, tx, moves)
	if err != nil {
		return nil, fmt.Errorf("grant points: %w", err)
	}
	c := newChanges()
	for i, g := range grants {
		if outcomes[i] == Duplicate {
			continue
		}
		p, ok := programmes[g.Programme]
		switch {
		case !ok:
			return nil, fmt.Errorf("grant %d: %w", i, ErrNoProgramme.With("programme", g.Programme))
		case p.Status != StatusActive:
			return nil, fmt.Errorf("grant %d: %w", i, ErrClosed.With("programme", g.Programme))
		}
		lot, err := p.lot(g)
		if err != nil {
			return nil, fmt.Errorf("grant %d: %w", i, err)
		}
		c.lots = append(c.lots, lot)
		c.book(moves[i], ledger.Posting{Account: accountIssued, Amount: -g.Points}, ledger.Posting{Account: accountOutstanding, Amount: g.Points})
		mode := g.Mode
		if mode == "" {
			mode = member.ModeLive
		}
		c.tell(moves[i], activity.KeyPointsEarned, g.Points, mode)
	}
	if err := s.write(ctx, tx, c); err != nil {
		return nil, fmt.Errorf("grant points: %w", err)
	}
	return outcomes, nil
}

// lot is what the grant makes under the programme's rules.
func (p Programme) lot(g Grant) (Lot, error) {
	l := Lot{Birth: g.Birth, Key: g.Key, Programme: g.Programme, Points: g.Points, Remaining: g.Points, EarnedAt: g.At, ActiveAt: p.ActiveAt(g.At)}
	if g.ActiveAt != nil {
		l.ActiveAt = *g.ActiveAt
	}
	if at, ok := p.ExpiresAt(l.ActiveAt); ok {
		l.ExpiresAt = &at
	}
	if g.ExpiresAt != nil {
		l.ExpiresAt = g.ExpiresAt
	}
	if l.ExpiresAt != nil && !l.ExpiresAt.After(l.ActiveAt) {
		return Lot{}, invalid("expires_at", "失效时间须晚于生效时间", "points must expire after they become active")
	}
	return l, nil
}

// known returns Duplicate for moves whose key was used before with the same input, else Done; ErrKeyReused for another
// input. A key may occur twice in moves.
func (s *Service) known(ctx context.Context, tx pgx.Tx, moves []move) ([]Outcome, error) {
	seen, err := seenMoves(ctx, tx, moves)
	if err != nil {
		return nil, err
	}
	outcomes := make([]Outcome, len(moves))
	for i, m := range moves {
		before, dup := seen[m.Key]
		switch {
		case !dup:
			outcomes[i], seen[m.Key] = Done, m.Hash
		case string(before) == string(m.Hash):
			outcomes[i] = Duplicate
		default:
			return nil, ErrKeyReused.With("key", m.Key)
		}
	}
	return outcomes, nil
}

// Spend uses points of a member.
type Spend struct {
	Key       id.UUID
	Birth     member.Birth
	Programme string
	Points    int64
	At        time.Time
	Reason    string
}

// Spend draws points over the whole member, first expiring first, after paying what the member owes. It locks the member.
// A repeated key returns the draws of the first time. It fails with ErrInvalid, ErrNoProgramme, ErrInsufficient,
// ErrKeyReused or cluster.ErrUnknown.
func (s *Service) Spend(ctx context.Context, tx pgx.Tx, in Spend) ([]Draw, error) {
	m := move{Key: in.Key, Kind: moveSpend, Birth: in.Birth, Programme: in.Programme, Points: in.Points, At: in.At, Reason: in.Reason}.seal()
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("spend points: %w", err)
	}
	draws, err := s.spend(ctx, tx, m)
	if err != nil {
		return nil, fmt.Errorf("spend points of %d: %w", in.Birth, err)
	}
	return draws, nil
}

func (s *Service) spend(ctx context.Context, tx pgx.Tx, m move) ([]Draw, error) {
	who, err := cluster.Lock(ctx, tx, []member.Birth{m.Birth})
	if err != nil {
		return nil, err
	}
	births := who[m.Birth].Births
	outcomes, err := s.known(ctx, tx, []move{m})
	if err != nil {
		return nil, err
	}
	if outcomes[0] == Duplicate {
		return drawsOf(ctx, tx, m.Key)
	}
	if _, err := s.Programme(ctx, tx, m.Programme); err != nil {
		return nil, err
	}
	lots, err := openLots(ctx, tx, births, m.Programme)
	if err != nil {
		return nil, err
	}
	debts, err := openDebts(ctx, tx, births, m.Programme)
	if err != nil {
		return nil, err
	}
	owed, err := owedBy(ctx, tx, births, m.Programme)
	if err != nil {
		return nil, err
	}

	c := newChanges()
	settle(c, lots, debts, m)
	available := max(spendable(lots, m.At)-owed, 0)
	if available < m.Points {
		return nil, ErrInsufficient.With("available", available, "points", m.Points)
	}
	draws, _ := draw(lots, m.Points, m.At)
	for n, d := range draws {
		ch := c.lot(d.Birth, d.Lot)
		ch.remaining -= d.Points
		ch.spent += d.Points
		c.allocations = append(c.allocations, allocation{Draw: d, Spend: m.Key, N: n, Purpose: purposeSpend, Programme: m.Programme, Spender: m.Birth})
	}
	c.book(m, ledger.Posting{Account: accountOutstanding, Amount: -m.Points}, ledger.Posting{Account: accountSpent, Amount: m.Points})
	c.tell(m, activity.KeyPointsSpent, m.Points, member.ModeLive)
	return draws, s.write(ctx, tx, c)
}

// settle pays open debts, oldest first, as far as the lots go.
func settle(c *changes, lots []Lot, debts []debt, cause move) {
	for _, d := range debts {
		draws, short := draw(lots, d.open(), cause.At)
		paid := d.open() - short
		if paid == 0 {
			return
		}
		key := id.Derived("points.settle", d.Key.String(), cause.Key.String())
		for n, w := range draws {
			ch := c.lot(w.Birth, w.Lot)
			ch.remaining -= w.Points
			ch.revoked += w.Points
			// Numbered after whatever paid this debt before, so that a refund undoes the latest first.
			c.allocations = append(c.allocations, allocation{
				Draw: w, Spend: d.Key, N: d.Payments + n, Purpose: purposeSettle, Programme: d.Programme, Spender: d.Birth,
			})
		}
		c.settled[lotKey{d.Birth, d.Key}] += paid
		m := move{Key: key, Kind: moveSettle, Birth: d.Birth, Programme: d.Programme, Points: paid, At: cause.At, Of: &d.Key}.seal()
		c.book(m, ledger.Posting{Account: accountOutstanding, Amount: -paid}, ledger.Posting{Account: accountDebt, Amount: paid})
	}
}

func spendable(lots []Lot, at time.Time) (sum int64) {
	for _, l := range lots {
		if l.spendable(at) {
			sum += l.Remaining
		}
	}
	return sum
}
