package promotion

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Status is where a promotion being written stands. A published version stays live while its promotion is edited, until the
// next one is published or the promotion is stopped.
type Status string

// The states of a promotion.
const (
	StatusDraft     Status = "draft"
	StatusApproved  Status = "approved"
	StatusPublished Status = "published"
	StatusStopped   Status = "stopped"
)

// Promotion is a promotion as it is being written.
type Promotion struct {
	Spec        Rule      `json:"spec"`
	Status      Status    `json:"status" enum:"draft,approved,published,stopped"`
	LiveVersion *int      `json:"live_version" doc:"the version that carts get now"`
	Versions    int       `json:"versions" doc:"how many were published"`
	Revision    int64     `json:"revision" doc:"give it back when changing the promotion"`
	CreatedBy   string    `json:"created_by"`
	ApprovedBy  string    `json:"approved_by"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// Stacking says how promotions combine.
type Stacking struct {
	Groups   []Group `json:"groups"`
	Caps     Caps    `json:"caps"`
	Revision int64   `json:"revision" doc:"rises with every publication, stop and change; give it back when changing"`
}

// Service keeps promotions and what is live of them.
type Service struct {
	db      pg.DB
	clock   clock.Clock
	history History
	live    atomic.Pointer[liveSet]
}

// liveSet is what was compiled of one revision.
type liveSet struct {
	revision int64
	rules    *Compiled
	limits   map[string]Limits // by promotion
	versions map[string]int
	counted  map[string]bool // promotions with any limit
	limited  []string        // promotions with a limit per member, and the limits
	most     []int64
}

// New returns the service; history gives forecasts their past carts.
func New(db pg.DB, clk clock.Clock, history History) *Service {
	return &Service{db: db, clock: clk, history: history}
}

// Live is what a cart is evaluated with: the rules, and the promotions that have nothing left for this buyer.
type Live struct {
	Rules     *Compiled
	Exhausted map[string]bool
}

// Live returns what is live now, in one round trip unless something was published since. births are those of the buyer.
func (s *Service) Live(ctx context.Context, db pg.DB, births []member.Birth, at time.Time) (Live, error) {
	for {
		set := s.live.Load()
		if set == nil {
			set = &liveSet{revision: -1}
		}
		revision, exhausted, err := readLive(ctx, db, births, clock.DayOf(at).String(), set)
		if err != nil {
			return Live{}, err
		}
		if revision == set.revision {
			return Live{set.rules, exhausted}, nil
		}
		if set, err = loadLive(ctx, db); err != nil {
			return Live{}, err
		}
		s.live.Store(set)
		if set.revision != revision || len(set.limited) > 0 {
			continue
		}
		return Live{set.rules, exhausted}, nil
	}
}

// Create stores a draft: ErrInvalid, ErrExists.
func (s *Service) Create(ctx context.Context, tx pgx.Tx, by string, spec Rule) (Promotion, error) {
	spec.Version = 0
	if err := spec.Validate(); err != nil {
		return Promotion{}, err
	}
	return insertPromotion(ctx, tx, by, spec, s.clock.Now())
}

// Update changes what is being written, which becomes a draft again; what is live stays. It fails with ErrInvalid,
// ErrNotFound or, when somebody else changed it since the revision was read, ErrStale.
func (s *Service) Update(ctx context.Context, tx pgx.Tx, spec Rule, revision int64) (Promotion, error) {
	spec.Version = 0
	if err := spec.Validate(); err != nil {
		return Promotion{}, err
	}
	return updatePromotion(ctx, tx, spec, revision, s.clock.Now())
}

// Approve lets a draft be published: ErrNotFound, ErrState.
func (s *Service) Approve(ctx context.Context, tx pgx.Tx, by, code string) (Promotion, error) {
	return approvePromotion(ctx, tx, by, code, s.clock.Now())
}

// Publish makes what was approved the live version, from now on within its own times. It fails with ErrNotFound, ErrState,
// or ErrInvalid when it does not fit the groups.
func (s *Service) Publish(ctx context.Context, tx pgx.Tx, by, code string) (Promotion, error) {
	if err := lockSettings(ctx, tx); err != nil {
		return Promotion{}, err
	}
	p, err := publishPromotion(ctx, tx, by, code, s.clock.Now())
	if err != nil {
		return Promotion{}, err
	}
	if _, err := loadLive(ctx, tx); err != nil { // what does not compile is not published
		return Promotion{}, err
	}
	return p, bumpRevision(ctx, tx)
}

// Stop ends the live version at once: ErrNotFound, ErrState. Orders that hold it keep it.
func (s *Service) Stop(ctx context.Context, tx pgx.Tx, by, code string) (Promotion, error) {
	if err := lockSettings(ctx, tx); err != nil {
		return Promotion{}, err
	}
	p, err := stopPromotion(ctx, tx, by, code, s.clock.Now())
	if err != nil {
		return Promotion{}, err
	}
	return p, bumpRevision(ctx, tx)
}

// Get returns a promotion: ErrNotFound.
func (s *Service) Get(ctx context.Context, db pg.DB, code string) (Promotion, error) {
	return getPromotion(ctx, db, code)
}

// Find returns promotions by code, after the given one; status "" is any.
func (s *Service) Find(ctx context.Context, db pg.DB, status Status, after string, limit int) ([]Promotion, error) {
	return findPromotions(ctx, db, status, after, limit)
}

// Versions returns what was published of a promotion, newest first.
func (s *Service) Versions(ctx context.Context, db pg.DB, code string) ([]Version, error) {
	return findVersions(ctx, db, code)
}

// Stacking returns groups and caps.
func (s *Service) Stacking(ctx context.Context, db pg.DB) (Stacking, error) {
	return getStacking(ctx, db)
}

// SetStacking replaces groups and caps. It fails with ErrInvalid, also when a live promotion does not fit, or ErrStale.
func (s *Service) SetStacking(ctx context.Context, tx pgx.Tx, st Stacking) (Stacking, error) {
	if err := lockSettings(ctx, tx); err != nil {
		return Stacking{}, err
	}
	if _, err := Compile(Set{Groups: st.Groups, Caps: st.Caps}); err != nil {
		return Stacking{}, err
	}
	st, err := putStacking(ctx, tx, st)
	if err != nil {
		return Stacking{}, err
	}
	_, err = loadLive(ctx, tx)
	return st, err
}

// compileWith compiles what is live with a draft in the place of its promotion.
func compileWith(ctx context.Context, db pg.DB, draft Rule) (base, with *Compiled, err error) {
	set, err := liveRules(ctx, db)
	if err != nil {
		return nil, nil, err
	}
	if base, err = Compile(set); err != nil {
		return nil, nil, err
	}
	rules := slices.DeleteFunc(slices.Clone(set.Rules), func(r Rule) bool { return r.Promotion == draft.Promotion })
	draft.Limits = Limits{} // a forecast knows no other orders
	set.Rules = append(rules, draft)
	with, err = Compile(set)
	return base, with, err
}
