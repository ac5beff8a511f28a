package coupon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

type grant struct {
	hash    []byte
	outcome Outcome
	code    string
}

type grantRow struct {
	wish
	Result
}

const loadGrantsSQL = `
SELECT key, hash, outcome, code
FROM commerce.coupon_grants
WHERE key = ANY(@keys)`

func loadGrants(ctx context.Context, tx pgx.Tx, keys []id.UUID) (map[id.UUID]grant, error) {
	rows, err := tx.Query(ctx, loadGrantsSQL, pg.Args{"keys": keys})
	if err != nil {
		return nil, fmt.Errorf("read grants: %w", err)
	}
	out := map[id.UUID]grant{}
	var key id.UUID
	var g grant
	if _, err := pgx.ForEachRow(rows, []any{&key, &g.hash, &g.outcome, &g.code}, func() error {
		out[key] = grant{slices.Clone(g.hash), g.outcome, g.code}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read grants: %w", err)
	}
	return out, nil
}

// counter is the row of a template with quantity or budget, locked.
type counter struct {
	issued   int64
	quantity *int64
	promised money.Fen
	budget   *money.Fen
}

const lockCountersSQL = `
SELECT template, issued, quantity, promised_fen, budget_fen
FROM commerce.coupon_counters
WHERE template = ANY(@templates)
ORDER BY template
FOR NO KEY UPDATE`

func lockCounters(ctx context.Context, tx pgx.Tx, templates []string) (map[string]*counter, error) {
	out := map[string]*counter{}
	if len(templates) == 0 {
		return out, nil
	}
	rows, err := tx.Query(ctx, lockCountersSQL, pg.Args{"templates": templates})
	if err != nil {
		return nil, fmt.Errorf("lock counters: %w", err)
	}
	var code string
	var c counter
	if _, err := pgx.ForEachRow(rows, []any{&code, &c.issued, &c.quantity, &c.promised, &c.budget}, func() error {
		fresh := c
		out[code] = &fresh
		return nil
	}); err != nil {
		return nil, fmt.Errorf("lock counters: %w", err)
	}
	return out, nil
}

const countHeldSQL = `
SELECT birth, template, count(*)
FROM commerce.coupons
WHERE birth = ANY(@births) AND template = ANY(@templates) AND state <> 'recalled'
GROUP BY birth, template`

func countHeld(ctx context.Context, tx pgx.Tx, births []member.Birth, templates []string, roots map[member.Birth]member.ID) (map[holding]int, error) {
	rows, err := tx.Query(ctx, countHeldSQL, pg.Args{"births": births, "templates": templates})
	if err != nil {
		return nil, fmt.Errorf("count coupons: %w", err)
	}
	out := map[holding]int{}
	var birth member.Birth
	var template string
	var n int
	if _, err := pgx.ForEachRow(rows, []any{&birth, &template, &n}, func() error {
		out[holding{roots[birth], template}] += n
		return nil
	}); err != nil {
		return nil, fmt.Errorf("count coupons: %w", err)
	}
	return out, nil
}

const insertGrantsSQL = `
INSERT INTO commerce.coupon_grants (key, hash, birth, template, outcome, code, at)
SELECT *
FROM unnest(@keys::uuid[], @hashes::bytea[], @births::bigint[], @templates::text[], @outcomes::text[], @codes::text[],
            @ats::timestamptz[]) AS g (key, hash, birth, template, outcome, code, at)
ORDER BY key
ON CONFLICT ON CONSTRAINT coupon_grants_pkey DO NOTHING`

const insertCodesSQL = `
INSERT INTO commerce.coupon_codes (code, birth)
SELECT *
FROM unnest(@codes::text[], @births::bigint[]) AS c (code, birth)
ORDER BY code
ON CONFLICT ON CONSTRAINT coupon_codes_pkey DO NOTHING`

const insertCouponsSQL = `
INSERT INTO commerce.coupons (birth, code, template, state, face_fen, issued_at, starts_at, expires_at, order_no, used_at, discount_fen, uses, source)
SELECT *
FROM unnest(@births::bigint[], @codes::text[], @templates::text[], @states::text[], @faces::bigint[], @issued::timestamptz[],
            @starts::timestamptz[], @expires::timestamptz[], @orders::text[], @used::timestamptz[], @discounts::bigint[], @uses::integer[], @sources::text[])`

const updateCountersSQL = `
UPDATE commerce.coupon_counters c
SET issued = w.issued, promised_fen = w.promised
FROM unnest(@templates::text[], @issued::bigint[], @promised::bigint[]) AS w (template, issued, promised)
WHERE c.template = w.template`

// flush writes grants, codes, coupons and counters in one round trip. A key or code that somebody else wrote meanwhile
// makes the database transaction run again.
func (w *writes) flush(ctx context.Context, tx pgx.Tx) error {
	var b pgx.Batch
	exact := func(want int) func(ct pgx.BatchResults) error {
		return func(res pgx.BatchResults) error {
			tag, err := res.Exec()
			if err == nil && tag.RowsAffected() != int64(want) {
				return errors.Join(errRace, pg.ErrRetry)
			}
			return err
		}
	}
	var steps []func(pgx.BatchResults) error
	if n := len(w.grants); n > 0 {
		keys, hashes, births, templates := make([]id.UUID, n), make([][]byte, n), make([]member.Birth, n), make([]string, n)
		outcomes, codes, ats := make([]string, n), make([]string, n), make([]time.Time, n)
		for i, g := range w.grants {
			keys[i], hashes[i], births[i], templates[i] = g.Key, g.hash, g.Birth, g.Template
			outcomes[i], codes[i], ats[i] = string(g.Outcome), g.Code, g.At
		}
		b.Queue(insertGrantsSQL, pg.Args{"keys": keys, "hashes": hashes, "births": births, "templates": templates, "outcomes": outcomes, "codes": codes, "ats": ats})
		steps = append(steps, exact(n))
	}
	if n := len(w.coupons); n > 0 {
		queueCoupons(&b, w.coupons)
		steps = append(steps, exact(n), exact(n))
	}
	if len(w.counters) > 0 {
		var templates []string
		var issued, promised []int64
		for code, c := range w.counters {
			templates, issued, promised = append(templates, code), append(issued, c.issued), append(promised, int64(c.promised))
		}
		b.Queue(updateCountersSQL, pg.Args{"templates": templates, "issued": issued, "promised": promised})
		steps = append(steps, exact(len(templates)))
	}
	if len(steps) == 0 {
		return nil
	}
	res := tx.SendBatch(ctx, &b)
	for _, step := range steps {
		if err := step(res); err != nil {
			_ = res.Close()
			return fmt.Errorf("write coupons: %w", err)
		}
	}
	if err := res.Close(); err != nil {
		return fmt.Errorf("write coupons: %w", err)
	}
	return nil
}

// queueCoupons inserts the codes, then the coupons.
func queueCoupons(b *pgx.Batch, all []Coupon) {
	n := len(all)
	births, codes, templates, states := make([]member.Birth, n), make([]string, n), make([]string, n), make([]string, n)
	faces, discounts, uses, sources := make([]int64, n), make([]int64, n), make([]int, n), make([]string, n)
	issued, starts, expires, used, orders := make([]time.Time, n), make([]time.Time, n), make([]time.Time, n), make([]*time.Time, n), make([]string, n)
	for i, c := range all {
		births[i], codes[i], templates[i], states[i] = c.Birth, c.Code, c.Template, string(c.State)
		faces[i], discounts[i], uses[i], sources[i] = int64(c.FaceFen), int64(c.DiscountFen), c.Uses, c.Source
		issued[i], starts[i], expires[i], used[i], orders[i] = c.IssuedAt, c.StartsAt, c.ExpiresAt, c.UsedAt, c.OrderNo
	}
	b.Queue(insertCodesSQL, pg.Args{"codes": codes, "births": births})
	b.Queue(insertCouponsSQL, pg.Args{
		"births": births, "codes": codes, "templates": templates, "states": states, "faces": faces, "issued": issued,
		"starts": starts, "expires": expires, "orders": orders, "used": used, "discounts": discounts, "uses": uses, "sources": sources,
	})
}

const couponColumns = `c.birth, c.code, c.template, c.state, c.face_fen, c.issued_at, c.starts_at, c.expires_at, c.order_no, c.used_at, c.discount_fen, c.uses, c.source`

const lockCouponsSQL = `
SELECT ` + couponColumns + `
FROM commerce.coupon_codes k
JOIN commerce.coupons c ON c.birth = k.birth AND c.code = k.code
WHERE k.code = ANY(@codes)
ORDER BY c.birth, c.code
FOR NO KEY UPDATE OF c`

func lockCoupons(ctx context.Context, tx pgx.Tx, codes []string) (map[string]Coupon, error) {
	return collectCoupons(ctx, tx, lockCouponsSQL, pg.Args{"codes": codes})
}

func collectCoupons(ctx context.Context, db pg.DB, sql string, args pg.Args) (map[string]Coupon, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("read coupons: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Coupon])
	if err != nil {
		return nil, fmt.Errorf("read coupons: %w", err)
	}
	out := make(map[string]Coupon, len(all))
	for _, c := range all {
		out[c.Code] = c
	}
	return out, nil
}

const updateCouponsSQL = `
UPDATE commerce.coupons c
SET template = w.template, state = w.state, issued_at = w.issued, starts_at = w.starts, expires_at = w.expires, order_no = w.order_no,
    used_at = w.used, discount_fen = w.discount, uses = w.uses, face_fen = w.face
FROM unnest(@births::bigint[], @codes::text[], @templates::text[], @states::text[], @faces::bigint[], @issued::timestamptz[], @starts::timestamptz[],
            @expires::timestamptz[], @orders::text[], @used::timestamptz[], @discounts::bigint[], @uses::integer[])
     AS w (birth, code, template, state, face, issued, starts, expires, order_no, used, discount, uses)
WHERE c.birth = w.birth AND c.code = w.code`

// updateCoupons stores changed coupons whose rows are locked.
func updateCoupons(ctx context.Context, tx pgx.Tx, all []Coupon) error {
	if len(all) == 0 {
		return nil
	}
	tag, err := tx.Exec(ctx, updateCouponsSQL, changed(all))
	if err != nil {
		return fmt.Errorf("update coupons: %w", err)
	}
	if tag.RowsAffected() != int64(len(all)) {
		return fmt.Errorf("update coupons: %d of %d found", tag.RowsAffected(), len(all))
	}
	return nil
}

// changed are the arguments of updateCouponsSQL.
func changed(all []Coupon) pg.Args {
	n := len(all)
	births, codes, templates, states, orders := make([]member.Birth, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	faces, discounts, uses := make([]int64, n), make([]int64, n), make([]int, n)
	issued, starts, expires, used := make([]time.Time, n), make([]time.Time, n), make([]time.Time, n), make([]*time.Time, n)
	for i, c := range all {
		births[i], codes[i], templates[i], states[i], orders[i] = c.Birth, c.Code, c.Template, string(c.State), c.OrderNo
		faces[i], discounts[i], uses[i] = int64(c.FaceFen), int64(c.DiscountFen), c.Uses
		issued[i], starts[i], expires[i], used[i] = c.IssuedAt, c.StartsAt, c.ExpiresAt, c.UsedAt
	}
	return pg.Args{
		"births": births, "codes": codes, "templates": templates, "states": states, "faces": faces, "issued": issued, "starts": starts,
		"expires": expires, "orders": orders, "used": used, "discounts": discounts, "uses": uses,
	}
}
