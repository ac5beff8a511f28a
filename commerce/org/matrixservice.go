package org

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/validate"
	"github.com/lianke/lianke/member"
)

// matrixAge is how long a process answers from the rows it read, unless it changed them itself: other processes follow a
// change within this time.
const matrixAge = 5 * time.Second

// Matrix says which touchpoint does which service. It answers from memory: a guard on a hot path costs no statement, except
// once in matrixAge, when one caller reads the rows again while the others go on with the old ones.
type Matrix struct {
	db       pg.DB
	clock    clock.Clock
	defaults *defaults
	returns  returnRules

	generation atomic.Int64 // of changes this process made
	cached     atomic.Pointer[reading]
	refreshing atomic.Bool
}

// reading is what one look at the rows found.
type reading struct {
	table
	generation int64
	until      time.Time
}

// NewMatrix returns the matrix of the installation; db is the pool of reads.
func NewMatrix(db pg.DB, clk clock.Clock) (*Matrix, error) {
	d, err := parseDefaults(servicesCSV)
	if err != nil {
		return nil, err
	}
	r, err := parseReturns(returnsCSV)
	if err != nil {
		return nil, err
	}
	return &Matrix{db: db, clock: clk, defaults: d, returns: r}, nil
}

// Offer returns what the place does about the service at a time. Where it is not done there, it fails with ErrNotOffered or
// ErrHandedOver, whose text names the nearest touchpoint that does it, or with ErrOfferedNowhere.
func (m *Matrix) Offer(ctx context.Context, db pg.DB, at Place, s Service, when time.Time) (Cell, error) {
	t, err := m.read(ctx, db)
	if err != nil {
		return Cell{}, err
	}
	return t.offer(at, s, when)
}

// Where lists the touchpoints that do the service, the nearest to the place first. The place may be empty.
func (m *Matrix) Where(ctx context.Context, db pg.DB, from Place, s Service, when time.Time) ([]member.Touchpoint, error) {
	t, err := m.read(ctx, db)
	if err != nil {
		return nil, err
	}
	return t.where(from, s, when), nil
}

// Cells returns the cells that hold at a place, of all touchpoints if it names none, by touchpoint and service.
func (m *Matrix) Cells(ctx context.Context, db pg.DB, at Place, when time.Time) ([]Cell, error) {
	t, err := m.read(ctx, db)
	if err != nil {
		return nil, err
	}
	touchpoints := []member.Touchpoint{at.Touchpoint}
	if at.Touchpoint == "" {
		touchpoints = t.touchpoints()
	}
	var out []Cell
	for _, code := range touchpoints {
		for _, s := range Services {
			out = append(out, t.cell(Place{code, at.Account, at.Store}, s.Service, when))
		}
	}
	return out, nil
}

// touchpoints are those of the defaults and then those that rows add.
func (t table) touchpoints() []member.Touchpoint {
	var known, added []member.Touchpoint
	for _, k := range t.defaults.list {
		known = append(known, k.code)
	}
	for k := range t.rows {
		if t.defaults.by[k.Touchpoint] == nil {
			added = append(added, k.Touchpoint)
		}
	}
	return append(known, slices.Compact(slices.Sorted(slices.Values(added)))...)
}

const selectServices = `
SELECT touchpoint, account, store, service, mode, handover_to, params, valid_from
FROM commerce.touchpoint_services`

func (m *Matrix) read(ctx context.Context, db pg.DB) (table, error) {
	now, generation := m.clock.Now(), m.generation.Load()
	if r := m.cached.Load(); r != nil && r.generation == generation {
		if now.Before(r.until) || !m.refreshing.CompareAndSwap(false, true) {
			return r.table, nil
		}
		defer m.refreshing.Store(false)
	}
	rows, err := db.Query(ctx, selectServices)
	if err != nil {
		return table{}, fmt.Errorf("read the matrix of services: %w", err)
	}
	cells, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c Cell, err error) {
		err = row.Scan(&c.Touchpoint, &c.Account, &c.Store, &c.Service, &c.Mode, &c.HandoverTo, &c.Params, &c.ValidFrom)
		return c, err
	})
	if err != nil {
		return table{}, fmt.Errorf("read the matrix of services: %w", err)
	}
	// A change that was announced meanwhile leaves this reading with an old generation, which nobody uses again.
	r := &reading{newTable(m.defaults, cells), generation, now.Add(matrixAge)}
	m.cached.Store(r)
	return r.table, nil
}

// Changed makes this process read the rows again. Whoever sets a cell calls it after the commit.
func (m *Matrix) Changed() { m.generation.Add(1) }

const upsertService = `
INSERT INTO commerce.touchpoint_services (touchpoint, account, store, service, valid_from, mode, handover_to, params, changed_by, changed_at)
SELECT @touchpoint, @account, @store, @service, @from, @mode, @handover, @params, @by, @now
WHERE @store = '' OR EXISTS (SELECT FROM commerce.org_units WHERE code = @store)
ON CONFLICT ON CONSTRAINT touchpoint_services_pkey DO UPDATE
SET mode = excluded.mode, handover_to = excluded.handover_to, params = excluded.params, changed_by = excluded.changed_by,
    changed_at = excluded.changed_at`

// Set stores a cell, valid from now if it does not say. It fails with ErrCell. Changed must follow the commit.
func (m *Matrix) Set(ctx context.Context, tx pgx.Tx, by auth.Actor, c Cell) (Cell, error) {
	if err := m.check(c); err != nil {
		return Cell{}, err
	}
	now := m.clock.Now()
	if c.ValidFrom.IsZero() {
		c.ValidFrom = now.Truncate(time.Microsecond)
	}
	if c.Params == nil {
		c.Params = map[string]any{}
	}
	tag, err := tx.Exec(ctx, upsertService, pg.Args{
		"touchpoint": c.Touchpoint, "account": c.Account, "store": c.Store, "service": c.Service, "from": c.ValidFrom, "mode": c.Mode,
		"handover": c.HandoverTo, "params": c.Params, "by": by.Name, "now": now,
	})
	if err != nil {
		return Cell{}, fmt.Errorf("set the cell %s of %s: %w", c.Service, c.Touchpoint, err)
	}
	if tag.RowsAffected() == 0 {
		return Cell{}, ErrCell.WithFields(validate.Field("store", "org.unknown_unit", "没有此门店", "there is no such store", "请核对门店编码", "check the code of the store"))
	}
	return c, nil
}

// maxParams bounds the parameters of a cell, in bytes of JSON.
const maxParams = 4 << 10

func (m *Matrix) check(c Cell) error {
	if err := validate.Struct(c); err != nil {
		return err
	}
	var wrong []fault.Field
	bad := func(path, zh, en, hintZH, hintEN string) {
		wrong = append(wrong, validate.Field(path, "org.cell", zh, en, hintZH, hintEN))
	}
	if !slices.ContainsFunc(Services, func(s struct {
		Service Service
		Name    fault.Text
	}) bool {
		return s.Service == c.Service
	}) {
		bad("service", "未知的服务", "the service is unknown", "请使用十二项服务之一", "use one of the twelve services")
	}
	if !slices.Contains(offerings, c.Mode) {
		bad("mode", "未知的提供方式", "the mode is unknown", "可用:self、platform、hand_over、none", "one of self, platform, hand_over, none")
	}
	switch {
	case c.Mode == OfferingHandOver && (m.defaults.by[c.HandoverTo] == nil || c.HandoverTo == c.Touchpoint):
		bad("handover_to", "须转交给另一个已知触点", "it hands over to another touchpoint that is known", "例如 miniprogram", "for example miniprogram")
	case c.Mode != OfferingHandOver && c.HandoverTo != "":
		bad("handover_to", "仅 hand_over 方式可填写", "only hand_over has it", "请留空", "leave it empty")
	}
	if text, err := json.Marshal(c.Params); err != nil || len(text) > maxParams {
		bad("params", "参数过大", "the parameters are too large", "不超过 4 KB", "at most 4 KB of JSON")
	}
	if wrong != nil {
		return ErrCell.WithFields(wrong...)
	}
	return nil
}
