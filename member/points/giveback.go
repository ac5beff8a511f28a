package points

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/cluster"
)

// Refund gives back points of a spend.
type Refund struct {
	Key    id.UUID
	Spend  id.UUID // the key of the spend
	Points int64
	At     time.Time
	Reason string
}

// Refund gives points back to the lots they were drawn from, last drawn first. A lot that has run out meanwhile lives
// again for the programme's grace days; without grace its points run out at once. Points whose lot belongs to another
// member by now and became a debt cancel that debt. It locks the members concerned and fails with ErrNoMove, ErrExceeds
// or ErrKeyReused.
func (s *Service) Refund(ctx context.Context, tx pgx.Tx, in Refund) (Outcome, error) {
	out, err := s.refund(ctx, tx, in, true)
	if err != nil {
		return "", fmt.Errorf("refund spend %s: %w", in.Spend, err)
	}
	return out, nil
}

// Release is Refund for a hold that was never captured: as the hold logged nothing, neither does this.
func (s *Service) Release(ctx context.Context, tx pgx.Tx, in Refund) (Outcome, error) {
	out, err := s.refund(ctx, tx, in, false)
	if err != nil {
		return "", fmt.Errorf("release hold %s: %w", in.Spend, err)
	}
	return out, nil
}

func (s *Service) refund(ctx context.Context, tx pgx.Tx, in Refund, tell bool) (Outcome, error) {
	spend, err := loadMove(ctx, tx, in.Spend, moveSpend)
	if err != nil {
		return "", err
	}
	m := move{Key: in.Key, Kind: moveRefund, Birth: spend.Birth, Programme: spend.Programme, Points: in.Points, At: in.At, Of: &in.Spend, Reason: in.Reason}.seal()
	if err := m.validate(); err != nil {
		return "", err
	}
	p, err := s.Programme(ctx, tx, m.Programme)
	if err != nil {
		return "", err
	}
	drawn, err := s.lockAllocations(ctx, tx, m.Birth, in.Spend)
	if err != nil {
		return "", err
	}
	if outcomes, err := s.known(ctx, tx, []move{m}); err != nil || outcomes[0] == Duplicate {
		return Duplicate, err
	}
	back, err := sumOf(ctx, tx, in.Spend, moveRefund)
	if err != nil {
		return "", err
	}
	if left := spend.Points - back; m.Points > left {
		return "", ErrExceeds.With("left", left)
	}

	c := newChanges()
	g := giving{changes: c, at: m.At, grace: p.GraceDays, lots: drawn.lots}
	want := m.Points
	for _, a := range slices.Backward(drawn.allocations) {
		if want == 0 {
			break
		}
		n := min(want, a.left())
		g.toLot(a, n)
		want -= n
		if a.Charged == 0 || want == 0 {
			continue
		}
		d := drawn.debts[a.chargeKey()]
		n = min(want, a.Charged-d.Cancelled)
		g.toDebt(d, drawn.payments[d.Key], n)
		want -= n
	}
	if want != 0 {
		return "", fmt.Errorf("points: spend %s has %d points unaccounted for", in.Spend, want)
	}
	c.book(m,
		ledger.Posting{Account: accountSpent, Amount: -m.Points},
		ledger.Posting{Account: accountOutstanding, Amount: g.outstanding},
		ledger.Posting{Account: accountExpired, Amount: g.expired},
		ledger.Posting{Account: accountDebt, Amount: g.debt})
	if tell {
		// As with returned orders, what is given back counts negative.
		c.tell(m, activity.KeyPointsSpent, -m.Points, member.ModeLive)
	}
	return Done, s.write(ctx, tx, c)
}

// drawn is what a spend drew, with everything that giving it back may touch.
type drawn struct {
	allocations []allocation             // of the spend, in the order drawn
	lots        map[lotKey]Lot           // of the allocations and of the payments
	debts       map[id.UUID]debt         // that allocations became, by key
	payments    map[id.UUID][]allocation // that paid those debts, by debt, in order
}

// lockAllocations locks the members of a spend and of the lots it drew from, then reads what giving it back needs.
func (s *Service) lockAllocations(ctx context.Context, tx pgx.Tx, spender member.Birth, spend id.UUID) (drawn, error) {
	births := []member.Birth{spender}
	first, err := allocationsOf(ctx, tx, []id.UUID{spend})
	if err != nil {
		return drawn{}, err
	}
	charges := make([]id.UUID, len(first))
	for i, a := range first {
		births, charges[i] = append(births, a.Birth), a.chargeKey()
	}
	paid, err := allocationsOf(ctx, tx, charges)
	if err != nil {
		return drawn{}, err
	}
	for _, a := range paid {
		births = append(births, a.Birth)
	}
	if _, err := cluster.Lock(ctx, tx, births); err != nil {
		return drawn{}, err
	}

	d := drawn{payments: map[id.UUID][]allocation{}}
	if d.allocations, err = allocationsOf(ctx, tx, []id.UUID{spend}); err != nil {
		return drawn{}, err
	}
	if paid, err = allocationsOf(ctx, tx, charges); err != nil {
		return drawn{}, err
	}
	for _, a := range paid {
		d.payments[a.Spend] = append(d.payments[a.Spend], a)
	}
	if d.lots, err = lotsOf(ctx, tx, append(paid, d.allocations...)); err != nil {
		return drawn{}, err
	}
	d.debts, err = debtsByKey(ctx, tx, charges)
	return d, err
}

// giving puts points back and adds up where they went.
type giving struct {
	*changes
	at    time.Time
	grace int
	lots  map[lotKey]Lot

	outstanding, expired, debt int64
}

// toLot gives n points of the allocation back to its lot.
func (g *giving) toLot(a allocation, n int64) {
	if n == 0 {
		return
	}
	g.refunded[allocationKey{lotKey{a.Birth, a.Lot}, a.Spend, a.N}] += n
	ch := g.lot(a.Birth, a.Lot)
	if a.Purpose == purposeSettle {
		ch.revoked -= n
	} else {
		ch.spent -= n
	}
	g.put(a, ch, n)
}

// put lets n points, taken out of another place of the lot, remain in it or run out.
func (g *giving) put(a allocation, ch *lotChange, n int64) {
	lot := g.lots[lotKey{a.Birth, a.Lot}]
	if lot.runOut(g.at) && g.grace == 0 {
		ch.expired += n
		g.expired += n
		return
	}
	if lot.runOut(g.at) {
		if ch.expiresAt == nil {
			// What had run out before stays so, even if no Expire has come by yet.
			ch.remaining -= lot.Remaining
			ch.expired += lot.Remaining
			g.outstanding -= lot.Remaining
			g.expired += lot.Remaining
		}
		until := g.at.Add(time.Duration(g.grace) * 24 * time.Hour)
		ch.expiresAt = &until
	}
	ch.remaining += n
	g.outstanding += n
}

// toDebt cancels n points of the debt: what is open of it first, then what was paid goes back to the lots that paid.
func (g *giving) toDebt(d debt, payments []allocation, n int64) {
	g.cancelled[lotKey{d.Birth, d.Key}] += n
	open := min(n, d.open())
	g.debt += open
	n -= open
	for _, a := range slices.Backward(payments) {
		back := min(n, a.left())
		if back == 0 {
			continue
		}
		g.settled[lotKey{d.Birth, d.Key}] -= back
		g.toLot(a, back)
		n -= back
	}
}

// Revoke takes back points of a grant.
type Revoke struct {
	Key    id.UUID
	Grant  id.UUID // the key of the grant
	Points int64
	At     time.Time
	Reason string
}

// Revoke takes points of a grant back: what remains of its lot first, then what of it ran out, and what is already spent
// becomes a debt of the member. It locks the member and fails with ErrNoMove, ErrExceeds or ErrKeyReused.
func (s *Service) Revoke(ctx context.Context, tx pgx.Tx, in Revoke) (Outcome, error) {
	out, err := s.revoke(ctx, tx, in)
	if err != nil {
		return "", fmt.Errorf("revoke grant %s: %w", in.Grant, err)
	}
	return out, nil
}

func (s *Service) revoke(ctx context.Context, tx pgx.Tx, in Revoke) (Outcome, error) {
	grant, err := loadMove(ctx, tx, in.Grant, moveGrant)
	if err != nil {
		return "", err
	}
	m := move{Key: in.Key, Kind: moveRevoke, Birth: grant.Birth, Programme: grant.Programme, Points: in.Points, At: in.At, Of: &in.Grant, Reason: in.Reason}.seal()
	if err := m.validate(); err != nil {
		return "", err
	}
	if _, err := cluster.Lock(ctx, tx, []member.Birth{m.Birth}); err != nil {
		return "", err
	}
	if outcomes, err := s.known(ctx, tx, []move{m}); err != nil || outcomes[0] == Duplicate {
		return Duplicate, err
	}
	before, err := sumOf(ctx, tx, in.Grant, moveRevoke)
	if err != nil {
		return "", err
	}
	if left := grant.Points - before; m.Points > left {
		return "", ErrExceeds.With("left", left)
	}
	lots, err := lotsOf(ctx, tx, []allocation{{Draw: Draw{Birth: m.Birth, Lot: in.Grant}}})
	if err != nil {
		return "", err
	}
	lot := lots[lotKey{m.Birth, in.Grant}]
	taken := min(m.Points, lot.Remaining)
	lapsed := min(m.Points-taken, lot.Expired)
	owed := m.Points - taken - lapsed

	c := newChanges()
	ch := c.lot(lot.Birth, lot.Key)
	ch.remaining, ch.expired, ch.revoked = -taken, -lapsed, taken+lapsed
	if owed > 0 {
		c.debts = append(c.debts, debt{Birth: m.Birth, Key: m.Key, Programme: m.Programme, Points: owed, At: m.At})
	}
	c.book(m,
		ledger.Posting{Account: accountIssued, Amount: m.Points},
		ledger.Posting{Account: accountOutstanding, Amount: -taken},
		ledger.Posting{Account: accountExpired, Amount: -lapsed},
		ledger.Posting{Account: accountDebt, Amount: -owed})
	c.tell(m, activity.KeyPointsEarned, -m.Points, member.ModeLive)
	return Done, s.write(ctx, tx, c)
}
