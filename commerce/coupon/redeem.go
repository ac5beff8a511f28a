package coupon

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/cluster"
)

// Get returns a coupon by its code as typed, or ErrNoCoupon, often without asking the database.
func (s *Service) Get(ctx context.Context, db pg.DB, typed string) (Coupon, error) {
	code := Normalise(typed)
	if s.filter.Absent(code) {
		return Coupon{}, ErrNoCoupon
	}
	found, err := collectCoupons(ctx, db, getCouponSQL, pg.Args{"code": code})
	if err != nil {
		return Coupon{}, err
	}
	c, ok := found[code]
	if !ok {
		return Coupon{}, ErrNoCoupon
	}
	return c, nil
}

const getCouponSQL = `
SELECT ` + couponColumns + `
FROM commerce.coupon_codes k
JOIN commerce.coupons c ON c.birth = k.birth AND c.code = k.code
WHERE k.code = @code`

const memberCouponsSQL = `
SELECT ` + couponColumns + `
FROM commerce.coupons c
WHERE c.birth = ANY(@births) AND (@state = '' OR c.state = @state) AND c.code > @after
ORDER BY c.code
LIMIT @limit`

// Coupons returns coupons of the births by code, after the given one; state "" means any.
func (s *Service) Coupons(ctx context.Context, db pg.DB, births []member.Birth, state State, after string, limit int) ([]Coupon, error) {
	rows, err := db.Query(ctx, memberCouponsSQL, pg.Args{"births": births, "state": string(state), "after": after, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("read coupons: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Coupon])
	if err != nil {
		return nil, fmt.Errorf("read coupons: %w", err)
	}
	return all, nil
}

// FillFilter refreshes the filter of codes that certainly do not exist.
func (s *Service) FillFilter(ctx context.Context) error {
	return s.filter.Fill(ctx, s.db, s.clock.Now())
}

// filterEvery is how often the filter is filled again. Between two fillings it only gets less useful: codes of weeks that
// were not over at the last one are looked up.
const filterEvery = time.Hour

// RunFilter fills the filter of this process at once and then regularly until ctx ends. Until it is filled for the first
// time, and whenever filling fails, every code is looked up.
func (s *Service) RunFilter(ctx context.Context) error {
	for {
		if err := s.FillFilter(ctx); err != nil {
			return err
		}
		t := time.NewTimer(filterEvery)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

// Redemption is the use of a coupon in an order.
type Redemption struct {
	Code       string
	Birth      member.Birth // who presents it; 0 if unknown. Must be the member it was issued to
	OrderNo    string
	AmountFen  money.Fen // of the order, before the coupon
	Touchpoint member.Touchpoint
	Store      string
	Service    org.Service // what the touchpoint must do for this, like checkout; "" asks nothing of it
	At         time.Time
}

// Lock reserves a coupon for an order and returns it with its discount. Locking again for the same order changes nothing.
// It fails with ErrInvalid, ErrNoCoupon, ErrState, ErrExpired, ErrNotYet, ErrThreshold, ErrScope, ErrNotTheirs or the
// refusal of the touchpoint (org.ErrNotOffered …).
func (s *Service) Lock(ctx context.Context, tx pgx.Tx, in Redemption) (Coupon, error) {
	c, err := s.redeem(ctx, tx, in, StateLocked)
	if err != nil {
		return Coupon{}, fmt.Errorf("lock coupon: %w", err)
	}
	return c, nil
}

// Use takes a coupon for an order at once. Using it again for the same order changes nothing. It fails like Lock.
func (s *Service) Use(ctx context.Context, tx pgx.Tx, in Redemption) (Coupon, error) {
	c, err := s.redeem(ctx, tx, in, StateUsed)
	if err != nil {
		return Coupon{}, fmt.Errorf("use coupon: %w", err)
	}
	return c, nil
}

func (s *Service) redeem(ctx context.Context, tx pgx.Tx, in Redemption, to State) (Coupon, error) {
	if in.OrderNo == "" || len(in.OrderNo) > 100 || in.At.IsZero() || in.AmountFen < 0 {
		return Coupon{}, invalid("order_no", "缺少订单号、时间或金额有误", "order number and time are needed, and an amount not below 0")
	}
	c, t, err := s.hold(ctx, tx, in.Code)
	if err != nil {
		return Coupon{}, err
	}
	switch {
	case c.State == to && c.OrderNo == in.OrderNo, c.State == StateUsed && c.OrderNo == in.OrderNo:
		return c, nil
	case c.State != StateIssued:
		return Coupon{}, ErrState.With("code", c.Code, "state", c.State)
	case in.At.Before(c.StartsAt):
		return Coupon{}, ErrNotYet.With("code", c.Code, "at", c.StartsAt.Format(time.RFC3339))
	case !in.At.Before(c.ExpiresAt):
		return Coupon{}, ErrExpired.With("code", c.Code, "at", c.ExpiresAt.Format(time.RFC3339))
	case in.AmountFen < t.ThresholdFen:
		return Coupon{}, ErrThreshold.With("threshold", t.ThresholdFen)
	case !t.Scope.allows(in.Touchpoint, in.Store):
		return Coupon{}, ErrScope.With("code", c.Code)
	}
	if s.guard != nil && in.Service != "" {
		if _, err := s.guard.Offer(ctx, tx, org.Place{Touchpoint: in.Touchpoint, Store: in.Store}, in.Service, in.At); err != nil {
			return Coupon{}, err
		}
	}
	if err := theirs(ctx, tx, c, in.Birth); err != nil {
		return Coupon{}, err
	}
	c.OrderNo, c.DiscountFen = in.OrderNo, t.Discount(in.AmountFen)
	if to == StateUsed {
		return s.used(ctx, tx, c, t, in.At)
	}
	c.State = StateLocked
	return c, updateCoupons(ctx, tx, []Coupon{c})
}

// theirs checks that the coupon belongs to the member who presents it.
func theirs(ctx context.Context, tx pgx.Tx, c Coupon, birth member.Birth) error {
	if c.Birth == 0 || birth == 0 || c.Birth == birth {
		return nil
	}
	who, err := cluster.Of(ctx, tx, []member.Birth{c.Birth, birth})
	if err != nil {
		return err
	}
	if who[c.Birth].Root != who[birth].Root {
		return ErrNotTheirs.With("code", c.Code)
	}
	return nil
}

// hold locks a coupon and reads its template.
func (s *Service) hold(ctx context.Context, tx pgx.Tx, typed string) (Coupon, Template, error) {
	code := Normalise(typed)
	if s.filter.Absent(code) {
		return Coupon{}, Template{}, ErrNoCoupon
	}
	found, err := lockCoupons(ctx, tx, []string{code})
	if err != nil {
		return Coupon{}, Template{}, err
	}
	c, ok := found[code]
	if !ok {
		return Coupon{}, Template{}, ErrNoCoupon
	}
	t, err := s.Template(ctx, tx, c.Template)
	return c, t, err
}

// Commit makes the lock of an order a use. Committing again changes nothing. It fails with ErrNoCoupon or ErrState.
func (s *Service) Commit(ctx context.Context, tx pgx.Tx, code, orderNo string, at time.Time) (Coupon, error) {
	c, t, err := s.hold(ctx, tx, code)
	if err != nil {
		return Coupon{}, fmt.Errorf("commit coupon: %w", err)
	}
	switch {
	case c.State == StateUsed && c.OrderNo == orderNo:
		return c, nil
	case c.State != StateLocked || c.OrderNo != orderNo:
		return Coupon{}, fmt.Errorf("commit coupon: %w", ErrState.With("code", c.Code, "state", c.State))
	}
	return s.used(ctx, tx, c, t, at)
}

// used books the use: the promise ends, the bearers carry what was given.
func (s *Service) used(ctx context.Context, tx pgx.Tx, c Coupon, t Template, at time.Time) (Coupon, error) {
	c.State, c.UsedAt = StateUsed, &at
	c.Uses++
	if err := updateCoupons(ctx, tx, []Coupon{c}); err != nil {
		return Coupon{}, err
	}
	if err := s.post(ctx, tx, c, t, "coupon.use", at, 1); err != nil {
		return Coupon{}, err
	}
	w := newWrites()
	w.tell(c.Birth, activity.KeyCouponUsed, c.Template, c.Code, c.OrderNo, useName(c), at, member.ModeLive)
	if _, err := s.log.Append(ctx, tx, w.activities); err != nil {
		return Coupon{}, fmt.Errorf("log coupon: %w", err)
	}
	return c, nil
}

func useName(c Coupon) string { return c.Code + ":" + strconv.Itoa(c.Uses) }

// post books a use, or with sign −1 its reversal.
func (s *Service) post(ctx context.Context, tx pgx.Tx, c Coupon, t Template, kind string, at time.Time, sign int64) error {
	x := ledger.Transaction{Key: id.Derived(kind, useName(c)), Book: Book, Kind: kind, Ref: c.Code, At: at}
	add := func(account string, amount money.Fen) {
		if amount != 0 {
			x.Postings = append(x.Postings, ledger.Posting{Account: account, Amount: sign * int64(amount)})
		}
	}
	add(accountPromised(t.Code), c.FaceFen)
	add(accountDiscounts(t.Code), -c.DiscountFen)
	face, cost := t.shares(c.FaceFen), t.shares(c.DiscountFen)
	for i, b := range t.Bearers {
		add(accountLiability(t.Code, b.Bearer), -face[i])
		add(accountCost(t.Code, b.Bearer), cost[i])
	}
	if len(x.Postings) == 0 {
		return nil
	}
	if _, err := s.ledger.Post(ctx, tx, []ledger.Transaction{x}); err != nil {
		return fmt.Errorf("post coupon: %w", err)
	}
	return nil
}

// Reverse lets go of the coupon of an order: a lock ends, a use is undone (the order was cancelled). A coupon whose time
// is over expires at the next Expire. Reversing again changes nothing. It fails with ErrNoCoupon or ErrState.
func (s *Service) Reverse(ctx context.Context, tx pgx.Tx, code, orderNo string, at time.Time) (Coupon, error) {
	c, t, err := s.hold(ctx, tx, code)
	if err != nil {
		return Coupon{}, fmt.Errorf("reverse coupon: %w", err)
	}
	switch {
	case c.State == StateIssued || c.State == StateExpired:
		return c, nil
	case (c.State != StateLocked && c.State != StateUsed) || c.OrderNo != orderNo:
		return Coupon{}, fmt.Errorf("reverse coupon: %w", ErrState.With("code", c.Code, "state", c.State))
	}
	if c.State == StateUsed {
		if err := s.post(ctx, tx, c, t, "coupon.reverse", at, -1); err != nil {
			return Coupon{}, fmt.Errorf("reverse coupon: %w", err)
		}
	}
	c.State, c.OrderNo, c.UsedAt, c.DiscountFen = StateIssued, "", nil, 0
	return c, updateCoupons(ctx, tx, []Coupon{c})
}

const claimExpiredSQL = `
SELECT ` + couponColumns + `
FROM commerce.coupons c
WHERE c.state = 'issued' AND c.expires_at <= @now
ORDER BY c.expires_at, c.birth, c.code
LIMIT @limit
FOR NO KEY UPDATE SKIP LOCKED`

// Expire ends all coupons whose time is over, in batches with a transaction each, and returns how many. mode says whether
// the coupon_expired activities may set journeys in motion.
func (s *Service) Expire(ctx context.Context, now time.Time, mode member.Mode) (int, error) {
	const limit = 2000
	total := 0
	for {
		var n int
		err := pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
			ended, err := collectCoupons(ctx, tx, claimExpiredSQL, pg.Args{"now": now, "limit": limit})
			n = len(ended)
			if err != nil {
				return err
			}
			return s.end(ctx, tx, ended, StateExpired, now, mode)
		})
		if err != nil {
			return total, fmt.Errorf("expire coupons: %w", err)
		}
		total += n
		if n < limit {
			return total, nil
		}
	}
}

const claimUnusedSQL = `
SELECT ` + couponColumns + `
FROM commerce.coupons c
WHERE c.state = 'issued' AND c.template = @template AND (@codes::text[] IS NULL OR c.code = ANY(@codes))
ORDER BY c.birth, c.code
LIMIT @limit
FOR NO KEY UPDATE`

// Recall takes back unused coupons of a template (all, or those with the codes), at most 2,000 at a time, and gives their
// quantity and budget back. It returns how many; call it until that is 0.
func (s *Service) Recall(ctx context.Context, tx pgx.Tx, template string, codes []string, at time.Time) (int, error) {
	t, err := s.Template(ctx, tx, template)
	if err != nil {
		return 0, fmt.Errorf("recall coupons: %w", err)
	}
	counters, err := lockCounters(ctx, tx, []string{template})
	if err != nil {
		return 0, fmt.Errorf("recall coupons: %w", err)
	}
	ended, err := collectCoupons(ctx, tx, claimUnusedSQL, pg.Args{"template": template, "codes": codes, "limit": 2000})
	if err != nil {
		return 0, fmt.Errorf("recall coupons: %w", err)
	}
	if c := counters[template]; len(ended) > 0 && (t.Quantity != nil || t.BudgetFen != nil) {
		for _, e := range ended {
			c.issued--
			c.promised -= e.FaceFen
		}
		if err := (&writes{counters: counters}).flush(ctx, tx); err != nil {
			return 0, fmt.Errorf("recall coupons: %w", err)
		}
	}
	if err := s.end(ctx, tx, ended, StateRecalled, at, member.ModeLive); err != nil {
		return 0, fmt.Errorf("recall coupons: %w", err)
	}
	return len(ended), nil
}

// end closes issued coupons whose rows are locked.
func (s *Service) end(ctx context.Context, tx pgx.Tx, ended map[string]Coupon, to State, at time.Time, mode member.Mode) error {
	if len(ended) == 0 {
		return nil
	}
	w := newWrites()
	w.at = at
	var all []Coupon
	codes := map[string]bool{}
	for _, c := range ended {
		c.State = to
		all = append(all, c)
		codes[c.Template] = true
		w.open[c.Template]--
		// A coupon may end more than once, when a use is reversed after its time.
		w.names = append(w.names, string(to)+":"+useName(c))
		if to == StateExpired {
			w.tell(c.Birth, activity.KeyCouponExpired, c.Template, c.Code, "", useName(c), c.ExpiresAt, mode)
		}
	}
	names := make([]string, 0, len(codes))
	for code := range codes {
		names = append(names, code)
	}
	templates, err := findTemplates(ctx, tx, names, "", 0)
	if err != nil {
		return err
	}
	byCode := make(map[string]Template, len(templates))
	for _, t := range templates {
		byCode[t.Code] = t
	}
	if err := updateCoupons(ctx, tx, all); err != nil {
		return err
	}
	return s.write(ctx, tx, w, byCode)
}
