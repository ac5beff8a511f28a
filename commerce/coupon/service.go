package coupon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/cluster"
)

// State is where a coupon is in its life.
type State string

// The states of a coupon.
const (
	StateIssued   State = "issued"
	StateLocked   State = "locked"
	StateUsed     State = "used"
	StateExpired  State = "expired"
	StateRecalled State = "recalled"
)

// open reports whether the coupon still promises its face value.
func (s State) open() bool { return s == StateIssued || s == StateLocked }

// Coupon is one coupon.
type Coupon struct {
	Birth       member.Birth `json:"birth,string"`
	Code        string       `json:"code"`
	Template    string       `json:"template"`
	State       State        `json:"state"`
	FaceFen     money.Fen    `json:"face_fen"`
	IssuedAt    time.Time    `json:"issued_at"`
	StartsAt    time.Time    `json:"starts_at"`
	ExpiresAt   time.Time    `json:"expires_at"`
	OrderNo     string       `json:"order_no"`
	UsedAt      *time.Time   `json:"used_at,omitempty"`
	DiscountFen money.Fen    `json:"discount_fen"`
	Uses        int          `json:"-"`
	Source      string       `json:"source"`
}

// Service issues, redeems and expires coupons.
type Service struct {
	db     pg.DB
	clock  clock.Clock
	ledger *ledger.Ledger
	log    *activity.Log
	random io.Reader
	filter Filter
	guard  Touchpoints // nil guards nothing
}

// Touchpoints says whether a service is done at a place.
type Touchpoints interface {
	Offer(ctx context.Context, db pg.DB, at org.Place, s org.Service, when time.Time) (org.Cell, error)
}

// Guard makes redemptions that name a service fail where their touchpoint does not do it. It is called before the service is
// used.
func (s *Service) Guard(t Touchpoints) { s.guard = t }

// New returns the service; db is the pool of reads and batches, random the source of codes (crypto/rand.Reader).
func New(db pg.DB, clk clock.Clock, l *ledger.Ledger, log *activity.Log, random io.Reader) *Service {
	return &Service{db: db, clock: clk, ledger: l, log: log, random: random}
}

// Issue asks for a coupon.
type Issue struct {
	Key      id.UUID
	Birth    member.Birth
	Template string
	At       time.Time
	Source   string      // who asks: "journey/second-cup", an operator
	Mode     member.Mode // live if empty
}

// Outcome says what became of a request.
type Outcome string

// The outcomes of Issue.
const (
	Granted         Outcome = "granted"
	LimitReached    Outcome = "limit_reached"    // the member has as many as the template allows
	Exhausted       Outcome = "exhausted"        // quantity or budget is used up
	ExpiredTemplate Outcome = "expired_template" // the template's time is over
	Inactive        Outcome = "inactive"         // the template is paused or archived
)

// Result is the answer to one Issue.
type Result struct {
	Outcome  Outcome
	Code     string
	Replayed bool // the key was answered before; nothing changed
}

type wish struct {
	Issue
	hash []byte
}

// Issue issues in bulk and returns one result each, in order; earlier requests come first where a limit bites. It fails
// as a whole with ErrInvalid, ErrNoTemplate, ErrKeyReused or cluster.ErrUnknown.
func (s *Service) Issue(ctx context.Context, tx pgx.Tx, issues []Issue) ([]Result, error) {
	results, err := s.issue(ctx, tx, issues)
	if err != nil {
		return nil, fmt.Errorf("issue coupons: %w", err)
	}
	return results, nil
}

func (s *Service) issue(ctx context.Context, tx pgx.Tx, issues []Issue) ([]Result, error) {
	wishes := make([]wish, len(issues))
	keys, births, codes := make([]id.UUID, len(issues)), make([]member.Birth, len(issues)), make([]string, len(issues))
	for i, in := range issues {
		switch {
		case in.Key == id.UUID{}:
			return nil, invalid(fmt.Sprintf("[%d].key", i), "缺少幂等键", "an idempotency key is needed")
		case in.Birth <= 0:
			return nil, invalid(fmt.Sprintf("[%d].birth", i), "缺少会员标识", "no birth is given")
		case in.At.IsZero():
			return nil, invalid(fmt.Sprintf("[%d].at", i), "缺少时间", "no time is given")
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%d\n%s\n%s", in.Birth, in.Template, in.Source))
		wishes[i] = wish{in, sum[:]}
		keys[i], births[i], codes[i] = in.Key, in.Birth, in.Template
	}
	templates, err := findTemplates(ctx, tx, codes, "", 0)
	if err != nil {
		return nil, err
	}
	byCode := make(map[string]Template, len(templates))
	limited, counted := false, []string{}
	for _, t := range templates {
		byCode[t.Code] = t
		limited = limited || t.MemberLimit > 0
		if t.Quantity != nil || t.BudgetFen != nil {
			counted = append(counted, t.Code)
		}
	}
	held := map[holding]int{}
	roots := map[member.Birth]member.ID{}
	if limited {
		if held, roots, err = lockHoldings(ctx, tx, births, codes); err != nil {
			return nil, err
		}
	}
	// After the member locks, so that a request with the same key that came first is seen.
	answered, err := loadGrants(ctx, tx, keys)
	if err != nil {
		return nil, err
	}
	counters, err := lockCounters(ctx, tx, counted)
	if err != nil {
		return nil, err
	}

	w := newWrites()
	results := make([]Result, len(issues))
	for i, in := range wishes {
		if before, ok := answered[in.Key]; ok {
			if string(before.hash) != string(in.hash) {
				return nil, ErrKeyReused.With("key", in.Key)
			}
			results[i] = Result{before.outcome, before.code, true}
			continue
		}
		t, ok := byCode[in.Template]
		if !ok {
			return nil, ErrNoTemplate.With("template", in.Template)
		}
		h := holding{roots[in.Birth], t.Code}
		r := Result{Outcome: t.judge(in.At, held[h], counters[t.Code])}
		if r.Outcome == Granted {
			if r.Code, err = newCode(s.random, s.clock.Now()); err != nil {
				return nil, err
			}
			held[h]++
			if c := counters[t.Code]; c != nil {
				c.issued++
				c.promised += t.Face()
			}
			w.grant(t, in, r.Code)
		}
		w.answer(in, r)
		answered[in.Key] = grant{in.hash, r.Outcome, r.Code}
		results[i] = r
	}
	w.counters = counters
	return results, s.write(ctx, tx, w, byCode)
}

// judge decides one request. held is what the member has of the template already; c is nil for unlimited templates.
func (t Template) judge(at time.Time, held int, c *counter) Outcome {
	from, to := t.Validity(at)
	switch {
	case t.Status != StatusActive:
		return Inactive
	case !from.Before(to):
		return ExpiredTemplate
	case t.MemberLimit > 0 && held >= t.MemberLimit:
		return LimitReached
	case c != nil && c.quantity != nil && c.issued >= *c.quantity,
		c != nil && c.budget != nil && c.promised+t.Face() > *c.budget:
		return Exhausted
	}
	return Granted
}

// writes is what a call changes, collected and written in a few round trips.
type writes struct {
	grants     []grantRow
	coupons    []Coupon
	counters   map[string]*counter
	open       map[string]int64 // coupons of a template that began to promise their face value, less those that ended
	activities []activity.Activity
	names      []string // what makes the ledger key of this call unique
	at         time.Time
}

func newWrites() *writes { return &writes{open: map[string]int64{}} }

func (w *writes) answer(in wish, r Result) {
	w.grants = append(w.grants, grantRow{in, r})
	w.names = append(w.names, in.Key.String())
	w.at = in.At
}

func (w *writes) grant(t Template, in wish, code string) {
	from, to := t.Validity(in.At)
	w.coupons = append(w.coupons, Coupon{
		Birth: in.Birth, Code: code, Template: t.Code, State: StateIssued, FaceFen: t.Face(),
		IssuedAt: in.At, StartsAt: from, ExpiresAt: to, Source: in.Source,
	})
	w.open[t.Code]++
	mode := in.Mode
	if mode == "" {
		mode = member.ModeLive
	}
	w.tell(in.Birth, activity.KeyCouponIssued, t.Code, code, "", code, in.At, mode)
}

// tell adds an activity, unless nobody owns the coupon.
func (w *writes) tell(birth member.Birth, key, template, code, orderNo, dedupe string, at time.Time, mode member.Mode) {
	if birth == 0 {
		return
	}
	props := map[string]any{"template": template, "code": code}
	if orderNo != "" {
		props["order_no"] = orderNo
	}
	w.activities = append(w.activities, activity.Activity{
		Birth: birth, Key: key, OccurredAt: at, Mode: mode, Source: "coupon", DedupeKey: key + ":" + dedupe, Props: props,
	})
}

var errRace = errors.New("coupon: the same key or code was used at the same time")

func (s *Service) write(ctx context.Context, tx pgx.Tx, w *writes, templates map[string]Template) error {
	if err := w.flush(ctx, tx); err != nil {
		return err
	}
	if err := s.promise(ctx, tx, w, templates); err != nil {
		return err
	}
	if _, err := s.log.Append(ctx, tx, w.activities); err != nil {
		return fmt.Errorf("log coupons: %w", err)
	}
	return nil
}

// promise posts by how much the open face value of each template rose or fell: one ledger transaction per call and
// template, however many coupons.
func (s *Service) promise(ctx context.Context, tx pgx.Tx, w *writes, templates map[string]Template) error {
	slices.Sort(w.names)
	name := ""
	for _, n := range w.names {
		name += n + "\n"
	}
	var txs []ledger.Transaction
	for code, n := range w.open {
		t := templates[code]
		if n == 0 || t.Face() == 0 {
			continue
		}
		x := ledger.Transaction{Key: id.Derived("coupon.promise", code, id.Hash16(name)), Book: Book, Kind: "coupon.promise", Ref: code, At: w.at}
		x.Postings = append(x.Postings, ledger.Posting{Account: accountPromised(code), Amount: -n * int64(t.Face())})
		for i, part := range t.shares(t.Face()) {
			if part != 0 {
				x.Postings = append(x.Postings, ledger.Posting{Account: accountLiability(code, t.Bearers[i].Bearer), Amount: n * int64(part)})
			}
		}
		txs = append(txs, x)
	}
	if _, err := s.ledger.Post(ctx, tx, txs); err != nil {
		return fmt.Errorf("post coupons: %w", err)
	}
	return nil
}

type holding struct {
	root     member.ID
	template string
}

// lockHoldings locks the members and counts what each of them holds of the templates.
func lockHoldings(ctx context.Context, tx pgx.Tx, births []member.Birth, templates []string) (map[holding]int, map[member.Birth]member.ID, error) {
	clusters, err := cluster.Lock(ctx, tx, births)
	if err != nil {
		return nil, nil, err
	}
	roots := map[member.Birth]member.ID{}
	var all []member.Birth
	for _, c := range clusters {
		for _, b := range c.Births {
			if _, seen := roots[b]; !seen {
				roots[b] = c.Root
				all = append(all, b)
			}
		}
	}
	held, err := countHeld(ctx, tx, all, templates, roots)
	return held, roots, err
}
