package inventory

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
)

// Count is a count of one owner's goods in one state at a location. While it is open it is blind: nobody is told how many
// there should be. What was expected is noted when a line is counted, so goods may move while others are counted; posting
// corrects by the difference.
//
//	open ──▶ counted ──▶ posted
//	  └────────┴───────▶ cancelled
type Count struct {
	ID        id.UUID     `json:"id"`
	Location  string      `json:"location"`
	Owner     string      `json:"owner"`
	Status    Status      `json:"status"`
	State     string      `json:"state" enum:"open,counted,posted,cancelled"`
	Note      string      `json:"note"`
	Actor     string      `json:"actor"`
	PostedBy  string      `json:"posted_by"`
	Version   int64       `json:"version"`
	CreatedAt time.Time   `json:"created_at"`
	UpdatedAt time.Time   `json:"updated_at"`
	Lines     []CountLine `json:"lines" db:"-"`
}

// CountLine is one SKU of a count.
type CountLine struct {
	SKU       string     `json:"sku"`
	Counted   *int64     `json:"counted,omitempty"`
	Expected  *int64     `json:"expected,omitempty" doc:"when it was counted; hidden while the count is open"`
	CountedBy string     `json:"counted_by"`
	CountedAt *time.Time `json:"counted_at,omitempty"`
}

// OpenCountInput begins a count.
type OpenCountInput struct {
	Location string   `json:"location" validate:"required,max=100"`
	Owner    string   `json:"owner,omitempty" validate:"max=100" doc:"empty: the entity of the location"`
	Status   Status   `json:"status,omitempty" enum:"good,damaged,inspecting,frozen" doc:"empty: good"`
	Note     string   `json:"note,omitempty" validate:"max=500"`
	SKUs     []string `json:"skus,omitempty" validate:"max=5000" doc:"empty: all that the owner has there"`
}

const insertCountSQL = `
INSERT INTO commerce.stock_counts (id, location, owner, status, state, note, actor, created_at, updated_at)
VALUES (@id, @location, @owner, @status, 'open', @note, @actor, @now, @now)`

const insertCountLinesSQL = `
INSERT INTO commerce.stock_count_lines (count, sku)
SELECT @id, sku
FROM (
    SELECT unnest(@skus::text[]) AS sku
    UNION
    SELECT sku
    FROM commerce.stock_levels
    WHERE cardinality(@skus::text[]) = 0 AND location = @location AND owner = @owner AND status = @status
) s`

// OpenCount writes the sheet.
func (s *Service) OpenCount(ctx context.Context, tx pgx.Tx, in OpenCountInput, actor string) (Count, error) {
	behind, err := s.ownersOf(ctx, tx, in.Location)
	if err != nil {
		return Count{}, err
	}
	c := Count{ID: id.New(), Location: in.Location, Owner: in.Owner, Status: in.Status}
	if c.Owner == "" {
		c.Owner = behind[0].Entity
	}
	if c.Status == "" {
		c.Status = StatusGood
	}
	if in.SKUs == nil {
		in.SKUs = []string{}
	}
	var b pgx.Batch
	b.Queue(insertCountSQL, pg.Args{
		"id": c.ID, "location": c.Location, "owner": c.Owner, "status": string(c.Status), "note": in.Note, "actor": actor, "now": s.clock.Now(),
	})
	b.Queue(insertCountLinesSQL, pg.Args{"id": c.ID, "skus": in.SKUs, "location": c.Location, "owner": c.Owner, "status": string(c.Status)})
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return c, fmt.Errorf("open count: %w", err)
	}
	return getCount(ctx, tx, c.ID, false)
}

const getCountSQL = `
SELECT id, location, owner, status, state, note, actor, posted_by, version, created_at, updated_at
FROM commerce.stock_counts
WHERE id = @id`

const lockCountSQL = getCountSQL + `
FOR NO KEY UPDATE`

const countLinesSQL = `
SELECT sku, counted, expected, counted_by, counted_at
FROM commerce.stock_count_lines
WHERE count = @id
ORDER BY sku`

func getCount(ctx context.Context, db pg.DB, count id.UUID, lock bool) (Count, error) {
	sql := getCountSQL
	if lock {
		sql = lockCountSQL
	}
	rows, err := db.Query(ctx, sql, pg.Args{"id": count})
	if err != nil {
		return Count{}, fmt.Errorf("read count: %w", err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Count])
	if pg.NoRows(err) {
		return c, ErrNoCount.With("count", count)
	}
	if err != nil {
		return c, fmt.Errorf("read count: %w", err)
	}
	if rows, err = db.Query(ctx, countLinesSQL, pg.Args{"id": count}); err != nil {
		return c, fmt.Errorf("read count lines: %w", err)
	}
	if c.Lines, err = pgx.CollectRows(rows, pgx.RowToStructByName[CountLine]); err != nil {
		return c, fmt.Errorf("read count lines: %w", err)
	}
	return c, nil
}

// GetCount returns a count; blind while it is open.
func (s *Service) GetCount(ctx context.Context, db pg.DB, count id.UUID) (Count, error) {
	c, err := getCount(ctx, db, count, false)
	return c.blind(), err
}

func (c Count) blind() Count {
	if c.State == "open" {
		for i := range c.Lines {
			c.Lines[i].Expected = nil
		}
	}
	return c
}

// Counted is what somebody counted of a SKU.
type Counted struct {
	SKU      string `json:"sku" validate:"required,max=100"`
	Quantity int64  `json:"quantity" validate:"min=0,max=1000000"`
}

const recordCountSQL = `
INSERT INTO commerce.stock_count_lines AS l (count, sku, counted, expected, counted_by, counted_at)
SELECT @id, t.sku, t.counted, coalesce(v.on_hand, 0), @actor, @now
FROM unnest(@skus::text[], @counted::bigint[]) AS t (sku, counted)
LEFT JOIN commerce.stock_levels v ON v.sku = t.sku AND v.location = @location AND v.owner = @owner AND v.status = @status
ON CONFLICT ON CONSTRAINT stock_count_lines_pkey DO UPDATE
SET counted = excluded.counted, expected = excluded.expected, counted_by = excluded.counted_by, counted_at = excluded.counted_at`

// RecordCount notes what was counted; SKUs that are not on the sheet are added. Counting again replaces.
func (s *Service) RecordCount(ctx context.Context, tx pgx.Tx, count id.UUID, lines []Counted, actor string) (Count, error) {
	c, err := getCount(ctx, tx, count, true)
	if err != nil {
		return c, err
	}
	if c.State != "open" {
		return c, ErrCountState.With("state", c.State)
	}
	last := map[string]int64{}
	for _, l := range lines {
		last[l.SKU] = l.Quantity
	}
	var skus []string
	var counted []int64
	for sku, n := range last {
		skus, counted = append(skus, sku), append(counted, n)
	}
	if _, err := tx.Exec(ctx, recordCountSQL, pg.Args{
		"id": c.ID, "skus": skus, "counted": counted, "actor": actor, "now": s.clock.Now(), "location": c.Location, "owner": c.Owner, "status": string(c.Status),
	}); err != nil {
		return c, fmt.Errorf("record count: %w", err)
	}
	c, err = getCount(ctx, tx, count, false)
	return c.blind(), err
}

const moveCountSQL = `
UPDATE commerce.stock_counts
SET state = @state, posted_by = @posted_by, version = version + 1, updated_at = @now
WHERE id = @id`

// MoveCount ends the counting (counted), posts the differences (posted) or gives up (cancelled). Posting fails with
// ErrPromised where less is there than is reserved: those orders must be shipped from elsewhere first.
func (s *Service) MoveCount(ctx context.Context, tx pgx.Tx, count id.UUID, to, actor string) (Count, error) {
	c, err := getCount(ctx, tx, count, true)
	if err != nil {
		return c, err
	}
	allowed := map[string][]string{"counted": {"open"}, "posted": {"counted"}, "cancelled": {"open", "counted"}}
	ok := false
	for _, from := range allowed[to] {
		ok = ok || c.State == from
	}
	if !ok {
		return c, ErrCountState.With("state", c.State)
	}
	posted := ""
	if to == "posted" {
		posted = actor
		if err := s.postCount(ctx, tx, c, actor); err != nil {
			return c, err
		}
	}
	if _, err := tx.Exec(ctx, moveCountSQL, pg.Args{"id": c.ID, "state": to, "posted_by": posted, "now": s.clock.Now()}); err != nil {
		return c, fmt.Errorf("move count: %w", err)
	}
	return getCount(ctx, tx, count, false)
}

func (s *Service) postCount(ctx context.Context, tx pgx.Tx, c Count, actor string) error {
	var changes []change
	for i, l := range c.Lines {
		if l.Counted == nil {
			continue
		}
		changes = append(changes, change{
			Place: Place{l.SKU, c.Location, c.Owner, c.Status}, OnHand: *l.Counted - *l.Expected, Reason: ReasonCount, Line: i + 1, Counted: true,
		})
	}
	if len(changes) == 0 {
		return nil
	}
	if _, err := s.post(ctx, tx, posting{Ref{"count", c.ID.String()}, actor, s.clock.Now()}, changes); err != nil {
		return fmt.Errorf("post count: %w", err)
	}
	return nil
}
