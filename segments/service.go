package segments

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// Service keeps segments and their membership.
type Service struct {
	db    pg.DB // pool of the loops and of use cases
	clock clock.Clock
	log   *slog.Logger
	feed  *activity.Log
	store store

	mu    sync.Mutex
	index *ruleIndex // of the last revision seen
}

// New returns the service on the pool. feed is the log that membership follows and reports to.
func New(db pg.DB, clk clock.Clock, log *slog.Logger, feed *activity.Log) *Service {
	return &Service{db: db, clock: clk, log: log, feed: feed}
}

// CreateInput describes a new segment.
type CreateInput struct {
	Code string `json:"code" validate:"required,max=64"`
	Name string `json:"name" validate:"required,max=200"`
	Rule Rule   `json:"rule"`
}

// Create stores a segment and builds its membership. The members of the first build enter in backfill mode: nobody is
// messaged because a rule was written. Errors: ErrCode, ErrName, ErrRule, ErrCycle, ErrCodeTaken.
func (s *Service) Create(ctx context.Context, in CreateInput) (Segment, error) {
	if err := validateCode(in.Code); err != nil {
		return Segment{}, err
	}
	if err := validateName(in.Name); err != nil {
		return Segment{}, err
	}
	if in.Rule.IsZero() {
		return Segment{}, ErrRule
	}
	err := pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		if err := s.store.revise(ctx, tx); err != nil {
			return err
		}
		if slices.Contains(in.Rule.terms.Segments, in.Code) {
			return ErrCycle.With("path", in.Code+" → "+in.Code)
		}
		if _, err := resolve(ctx, tx, in.Rule); err != nil {
			return err
		}
		_, err := s.store.insert(ctx, tx, in.Code, in.Name, in.Rule, s.clock.Now())
		return err
	})
	if err != nil {
		return Segment{}, fmt.Errorf("create segment %s: %w", show(in.Code), err)
	}
	if err := s.buildDue(ctx, s.clock.Now()); err != nil {
		return Segment{}, err
	}
	return s.Get(ctx, in.Code)
}

// UpdateInput changes a segment; Version is the one that was read.
type UpdateInput struct {
	Version int64   `json:"version" validate:"required"`
	Name    *string `json:"name,omitempty" validate:"omitempty,max=200"`
	Rule    *Rule   `json:"rule,omitempty"`
}

// Update changes name or rule. A new rule rebuilds the membership, in backfill mode, also of the segments that refer to
// it. Errors: ErrNotFound, ErrStale, ErrArchived, ErrName, ErrRule, ErrCycle.
func (s *Service) Update(ctx context.Context, code string, in UpdateInput) (Segment, error) {
	err := s.change(ctx, code, in.Version, func(tx pgx.Tx, seg *Segment, live []Segment) ([]id.UUID, error) {
		if in.Name != nil {
			if err := validateName(*in.Name); err != nil {
				return nil, err
			}
			seg.Name = *in.Name
		}
		if in.Rule == nil || in.Rule.IsZero() || in.Rule.String() == seg.Rule.String() {
			return nil, nil
		}
		seg.Rule, seg.Status = *in.Rule, StatusBuilding
		refs, err := resolve(ctx, tx, *in.Rule)
		if err != nil {
			return nil, err
		}
		refs[code] = *in.Rule
		if path := cycle(Rule{terms: Terms{Segments: []string{code}}}, refs); path != nil {
			return nil, ErrCycle.With("path", trail(path))
		}
		return dependents(code, live), nil
	})
	if err != nil {
		return Segment{}, fmt.Errorf("update segment %s: %w", show(code), err)
	}
	if err := s.buildDue(ctx, s.clock.Now()); err != nil {
		return Segment{}, err
	}
	return s.Get(ctx, code)
}

// Archive ends a segment: its membership is dropped without a word to anybody. Errors: ErrNotFound, ErrStale, ErrArchived,
// ErrReferenced.
func (s *Service) Archive(ctx context.Context, code string, version int64) (Segment, error) {
	err := s.change(ctx, code, version, func(tx pgx.Tx, seg *Segment, live []Segment) ([]id.UUID, error) {
		for _, other := range live {
			if slices.Contains(other.Rule.terms.Segments, code) {
				return nil, ErrReferenced.With("code", code, "by", other.Code)
			}
		}
		seg.Status = StatusArchived
		return nil, s.store.empty(ctx, tx, seg.ID)
	})
	if err != nil {
		return Segment{}, fmt.Errorf("archive segment %s: %w", show(code), err)
	}
	return s.Get(ctx, code)
}

// change runs fn on a segment under the locks of a change and stores the result; the ids that fn returns are rebuilt too.
func (s *Service) change(ctx context.Context, code string, version int64, fn func(tx pgx.Tx, seg *Segment, live []Segment) ([]id.UUID, error)) error {
	return pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		if err := s.store.revise(ctx, tx); err != nil {
			return err
		}
		seg, err := s.store.get(ctx, tx, code)
		if err != nil {
			return err
		}
		live, err := s.store.live(ctx, tx)
		if err != nil {
			return err
		}
		ids := []id.UUID{seg.ID}
		ids = append(ids, dependents(code, live)...)
		if _, err := s.store.lock(ctx, tx, ids); err != nil {
			return err
		}
		switch {
		case seg.Status == StatusArchived:
			return ErrArchived.With("code", code)
		case seg.Version != version:
			return ErrStale.With("code", code, "version", seg.Version)
		}
		also, err := fn(tx, &seg, live)
		if err != nil {
			return err
		}
		if _, err := s.store.update(ctx, tx, seg, s.clock.Now()); err != nil {
			return err
		}
		return s.store.markBuilding(ctx, tx, also)
	})
}

// dependents returns the segments whose rules refer to code, directly or through others.
func dependents(code string, live []Segment) []id.UUID {
	reached := map[string]bool{code: true}
	var out []id.UUID
	for grew := true; grew; {
		grew = false
		for _, s := range live {
			if !reached[s.Code] && slices.ContainsFunc(s.Rule.terms.Segments, func(c string) bool { return reached[c] }) {
				reached[s.Code], grew = true, true
				out = append(out, s.ID)
			}
		}
	}
	return out
}

// Get returns a segment by its code, or ErrNotFound.
func (s *Service) Get(ctx context.Context, code string) (Segment, error) {
	return s.store.get(ctx, s.db, code)
}

// Find lists segments by code, beginning after the given one.
func (s *Service) Find(ctx context.Context, after string, archived bool, limit int) ([]Segment, error) {
	return s.store.find(ctx, s.db, after, archived, limit)
}

// FindMembers lists the current members of a segment within the scope by id, beginning after the given one.
func (s *Service) FindMembers(ctx context.Context, scope auth.Scope, code string, after member.ID, limit int) ([]Membership, error) {
	seg, err := s.Get(ctx, code)
	if err != nil {
		return nil, err
	}
	return s.store.members(ctx, s.db, scope, seg.ID, after, limit)
}

// Of returns the codes of the segments that a member is in now.
func (s *Service) Of(ctx context.Context, db pg.DB, who member.ID) ([]string, error) {
	return s.store.ofMember(ctx, db, who)
}

// nextMidnight returns the first Shanghai midnight after t.
func nextMidnight(t time.Time) time.Time { return clock.DayOf(t).Next().Start() }
