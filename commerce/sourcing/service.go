package sourcing

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/pg"
)

// Stock tells what can be promised where; no locations are all of them.
type Stock interface {
	Available(ctx context.Context, db pg.DB, skus, locations []string, touchpoint string) ([]inventory.Available, error)
}

// Service keeps rules, freight tables, settings of locations and their capacity, and plans with them.
type Service struct {
	db    *pg.Pool
	clock clock.Clock
	stock Stock
}

// New returns the service.
func New(db *pg.Pool, clk clock.Clock, stock Stock) *Service {
	return &Service{db: db, clock: clk, stock: stock}
}

// Decision is a plan with what it was made of.
type Decision struct {
	Plan
	Why     Why              `json:"why"`
	Rules   string           `json:"rules"`
	Version int64            `json:"rules_version" doc:"0 for the rules that hold where none were put"`
	Freight map[string]int64 `json:"freight_versions" doc:"version of each carrier's table"`
}

// Plan plans a request under the rules (default if code is empty) with the stock and capacity of now, from the locations
// within the scope. It promises nothing: reserve the stock and hold the capacity, and plan again if either fails. It fails
// with ErrRequest or ErrNoRules.
func (s *Service) Plan(ctx context.Context, db pg.DB, scope auth.Scope, code string, req Request) (Decision, error) {
	if req.At.IsZero() {
		req.At = s.clock.Now()
	}
	if err := req.Validate(); err != nil {
		return Decision{}, err
	}
	rules, err := s.Rules(ctx, db, code)
	if err != nil {
		return Decision{}, err
	}
	if rules.Freight, err = findFreight(ctx, db, "", unlimited); err != nil {
		return Decision{}, err
	}
	locs, err := s.locations(ctx, db, scope, req)
	if err != nil {
		return Decision{}, err
	}
	d := Decision{Rules: rules.Code, Version: rules.Version, Freight: map[string]int64{}}
	for _, t := range rules.Freight {
		d.Freight[t.Carrier] = t.Version
	}
	d.Plan, d.Why = Source(req, locs, rules)
	return d, nil
}

// locations are those in scope, with the stock of what is wanted.
func (s *Service) locations(ctx context.Context, db pg.DB, scope auth.Scope, req Request) ([]Location, error) {
	locs, err := findLocations(ctx, db, scope, clock.DayOf(req.At))
	if err != nil || len(locs) == 0 {
		return nil, err
	}
	at := map[string]*Location{}
	codes, skus := make([]string, 0, len(locs)), make([]string, 0, len(req.Lines))
	for i := range locs {
		at[locs[i].Code] = &locs[i]
		codes = append(codes, locs[i].Code)
	}
	for _, l := range req.Lines {
		skus = append(skus, l.SKU)
	}
	stock, err := s.stock.Available(ctx, db, skus, codes, req.Touchpoint)
	if err != nil {
		return nil, fmt.Errorf("source an order: %w", err)
	}
	for _, a := range stock {
		l := at[a.Location]
		if l == nil {
			continue
		}
		if l.Available == nil {
			l.Available = map[string]int64{}
		}
		n := l.Available[a.SKU] + a.Available
		if a.Limit != nil {
			n = min(n, *a.Limit)
		}
		l.Available[a.SKU] = n
	}
	return locs, nil
}

// Rules returns the rules with this code; those that hold where nothing was put are "default" too. It fails with ErrNoRules.
func (s *Service) Rules(ctx context.Context, db pg.DB, code string) (Rules, error) {
	if code == "" {
		code = defaultRules.Code
	}
	r, found, err := getRules(ctx, db, code)
	switch {
	case err != nil:
		return Rules{}, err
	case !found && code == defaultRules.Code:
		return defaultRules, nil
	case !found:
		return Rules{}, ErrNoRules.With("rules", code)
	}
	return r, nil
}

// PutRules stores the next version of rules; r.Version is the one that was read. It fails with ErrRules or ErrStale.
func (s *Service) PutRules(ctx context.Context, tx pgx.Tx, by auth.Actor, r Rules) (Rules, error) {
	if err := r.Validate(); err != nil {
		return Rules{}, err
	}
	r.Version++
	return r, s.put(ctx, tx, by, "rules", r.Code, r.Version, r, putRules, pg.Args{})
}

// PutFreight stores the next version of a carrier's table. It fails with ErrFreight or ErrStale.
func (s *Service) PutFreight(ctx context.Context, tx pgx.Tx, by auth.Actor, t Table) (Table, error) {
	if err := t.Validate(); err != nil {
		return Table{}, err
	}
	t.Version++
	return t, s.put(ctx, tx, by, "freight", t.Carrier, t.Version, t, putFreight, pg.Args{})
}

// PutSettings stores the next version of a location's settings. A lower capacity does not take back what is taken. It fails
// with ErrLocation, ErrStale, or ErrNoLocation, also where the location lies outside the scope.
func (s *Service) PutSettings(ctx context.Context, tx pgx.Tx, by auth.Actor, set Settings) (Settings, error) {
	if err := set.Validate(); err != nil {
		return Settings{}, err
	}
	if found, err := locationExists(ctx, tx, by.Scope, set.Location); err != nil || !found {
		if err == nil {
			err = ErrNoLocation.With("location", set.Location)
		}
		return Settings{}, err
	}
	set.Version++
	if err := s.put(ctx, tx, by, "location", set.Location, set.Version, set, putSettings, pg.Args{"cap": set.DailyCap}); err != nil {
		return Settings{}, err
	}
	return set, setCaps(ctx, tx, set.Location, set.DailyCap, clock.DayOf(s.clock.Now()), s.clock.Now())
}

func (s *Service) put(ctx context.Context, tx pgx.Tx, by auth.Actor, kind, code string, version int64, v any, sql string, args pg.Args) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode sourcing %s %s: %w", kind, code, err)
	}
	args["code"], args["version"], args["content"], args["now"] = code, version, text, s.clock.Now()
	tag, err := tx.Exec(ctx, sql, args)
	if err != nil {
		return fmt.Errorf("put sourcing %s %s: %w", kind, code, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrStale
	}
	_, err = tx.Exec(ctx, keepVersion, pg.Args{
		"kind": kind, "code": code, "version": version, "content": text, "by": by.Name, "now": s.clock.Now(),
	})
	if pg.Constraint(err) == "sourcing_versions_pkey" {
		return ErrStale
	}
	if err != nil {
		return fmt.Errorf("keep version of sourcing %s %s: %w", kind, code, err)
	}
	return nil
}

// Hold takes a token of a location's capacity on a day until expires. Holding again under the reference is the same token,
// with the new expiry. It fails with ErrNoCapacity, or ErrKeyReused if the reference holds another location, day or number.
func (s *Service) Hold(ctx context.Context, tx pgx.Tx, t Token, expires time.Time) error {
	if t.Ref == "" || t.Parcels <= 0 || t.Parcels > unlimited {
		return fmt.Errorf("hold capacity for %q: %d parcels", t.Ref, t.Parcels)
	}
	return hold(ctx, tx, t, expires, s.clock.Now())
}

// Confirm keeps what is held for the reference. It fails with ErrNoToken when nothing is held any more; twice is fine.
func (s *Service) Confirm(ctx context.Context, tx pgx.Tx, ref string) error {
	return confirm(ctx, tx, ref, s.clock.Now())
}

// Release gives the references' capacity back, held or confirmed. What is released already stays so.
func (s *Service) Release(ctx context.Context, tx pgx.Tx, refs ...string) error {
	_, err := release(ctx, tx, releaseRefs, pg.Args{"refs": refs}, s.clock.Now())
	return err
}

// Expire releases what was held too long; the jobs run it every minute.
func (s *Service) Expire(ctx context.Context) error {
	const batch = 500
	for {
		n := 0
		err := pg.InTx(ctx, s.db, func(tx pgx.Tx) (err error) {
			n, err = release(ctx, tx, releaseExpired, pg.Args{"batch": batch}, s.clock.Now())
			return err
		})
		if err != nil || n < batch {
			return err
		}
	}
}
