package settlement

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// State is where a statement is in its life.
type State string

// The states of a statement.
const (
	StateDraft     State = "draft"     // takes in what becomes payable in its period
	StateSent      State = "sent"      // the partner is asked
	StateDisputed  State = "disputed"  // the partner says what is wrong
	StateConfirmed State = "confirmed" // never edited again
	StatePaid      State = "paid"
)

// moves says which state may follow which.
var moves = map[State][]State{
	StateDraft:     {StateSent},
	StateSent:      {StateConfirmed, StateDisputed},
	StateDisputed:  {StateDraft},
	StateConfirmed: {StatePaid},
}

// Statement is what a legal entity is owed for a period, or owes where it is negative.
type Statement struct {
	ID        id.UUID   `json:"id"`
	Entity    string    `json:"entity"`
	Period    string    `json:"period" doc:"month, like 2026-03"`
	State     State     `json:"state" enum:"draft,sent,disputed,confirmed,paid"`
	TotalFen  money.Fen `json:"total_fen" doc:"positive: owed to the entity"`
	Lines     int64     `json:"lines"`
	Note      string    `json:"note"`
	Version   int       `json:"version"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// period is a month of Shanghai time.
func period(text string) (end time.Time, err error) {
	t, err := time.ParseInLocation("2006-01", text, clock.Shanghai)
	if err != nil {
		return time.Time{}, ErrPeriod.With("period", text)
	}
	return t.AddDate(0, 1, 0), nil
}

// Whatever is payable before the end of the period and on no statement yet, of entities other than the brand's own.
const draftSQL = `
WITH taken AS (
    SELECT entity
    FROM commerce.settlement_lines
    WHERE statement IS NULL AND entity <> '' AND payable_at < @until AND payable_at <= @now
      AND entity NOT IN (SELECT entity FROM commerce.org_units WHERE parent IS NULL AND entity IS NOT NULL)
    GROUP BY entity
), drafts AS (
    INSERT INTO commerce.statements AS s (id, entity, period, state, total_fen, lines, created_at, updated_at)
    SELECT gen_random_uuid(), entity, @period, 'draft', 0, 0, @now, @now
    FROM taken
    ORDER BY entity
    ON CONFLICT (entity, period) DO UPDATE SET updated_at = excluded.updated_at WHERE s.state = 'draft'
    RETURNING id, entity
), marked AS (
    UPDATE commerce.settlement_lines l
    SET statement = d.id
    FROM drafts d
    WHERE l.entity = d.entity AND l.statement IS NULL AND l.payable_at < @until AND l.payable_at <= @now
    RETURNING d.id, CASE WHEN l.inward THEN -l.fen ELSE l.fen END AS fen
)
SELECT id, count(*), sum(fen)::bigint
FROM marked
GROUP BY id`

const addToDraftSQL = `
UPDATE commerce.statements
SET total_fen = total_fen + @fen, lines = lines + @lines
WHERE id = @id`

// Draft puts everything payable by now and before the end of the month onto draft statements, one an entity, and returns how many
// statements took something in. What becomes payable after a statement was sent goes onto the next month's.
func (s *Service) Draft(ctx context.Context, tx pgx.Tx, month string) (int, error) {
	until, err := period(month)
	if err != nil {
		return 0, err
	}
	rows, err := tx.Query(ctx, draftSQL, pg.Args{"period": month, "until": until, "now": s.clock.Now()})
	if err != nil {
		return 0, fmt.Errorf("draft statements: %w", err)
	}
	type added struct {
		ID    id.UUID
		Lines int64
		Fen   money.Fen
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[added])
	if err != nil {
		return 0, fmt.Errorf("draft statements: %w", err)
	}
	for _, a := range all {
		if _, err := tx.Exec(ctx, addToDraftSQL, pg.Args{"id": a.ID, "lines": a.Lines, "fen": a.Fen}); err != nil {
			return 0, fmt.Errorf("draft statements: %w", err)
		}
	}
	return len(all), nil
}

// ownEntitiesSQL are the legal entities whose business the actor may see: a unit of theirs is in the actor's subtree, and so
// is every unit of theirs that is more than a store.
const ownEntitiesSQL = `
    SELECT entity
    FROM commerce.org_units
    WHERE entity IS NOT NULL
    GROUP BY entity
    HAVING bool_or(path @> ARRAY[@org::text]) AND bool_and(kind = 'store' OR path @> ARRAY[@org::text])`

const selectStatement = `
SELECT s.id, s.entity, s.period, s.state, s.total_fen, s.lines, s.note, s.version, s.created_at, s.updated_at
FROM commerce.statements s
WHERE (@everything OR s.entity IN (` + ownEntitiesSQL + `))`

const findStatementsSQL = selectStatement + `
  AND (@entity = '' OR s.entity = @entity) AND (@period = '' OR s.period = @period) AND (@state = '' OR s.state = @state)
  AND s.period || '/' || s.entity > @after
ORDER BY s.period || '/' || s.entity
LIMIT @limit`

// StatementQuery selects statements; empty fields select all.
type StatementQuery struct {
	Entity, Period string
	State          State
	After          string // period/entity of the last one seen
	Limit          int
}

// Statements returns statements by period and entity, within the scope: partners see those of their own entities.
func (s *Service) Statements(ctx context.Context, db pg.DB, scope auth.Scope, q StatementQuery) ([]Statement, error) {
	return s.statements(ctx, db, findStatementsSQL, pg.Args{
		"everything": scope.All, "org": scope.Org, "entity": q.Entity, "period": q.Period, "state": q.State, "after": q.After, "limit": q.Limit,
	})
}

const statementSQL = selectStatement + ` AND s.id = @id`

// Statement returns one statement. It fails with ErrNoStatement, also where it lies outside the scope.
func (s *Service) Statement(ctx context.Context, db pg.DB, scope auth.Scope, key id.UUID) (Statement, error) {
	list, err := s.statements(ctx, db, statementSQL, pg.Args{"everything": scope.All, "org": scope.Org, "id": key})
	if err == nil && len(list) == 0 {
		err = ErrNoStatement
	}
	if err != nil {
		return Statement{}, err
	}
	return list[0], nil
}

func (s *Service) statements(ctx context.Context, db pg.DB, sql string, args pg.Args) ([]Statement, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("find statements: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Statement])
	if err != nil {
		return nil, fmt.Errorf("find statements: %w", err)
	}
	return out, nil
}

const moveStatementSQL = `
UPDATE commerce.statements
SET state = @to, note = @note, version = version + 1, updated_at = @now
WHERE id = @id AND state = @from AND version = @version`

// Move brings a statement into another state; version is the one that was read. It fails with ErrNoStatement, ErrMove where
// the state does not allow it, ErrNote where a dispute gives no reason, or ErrStale.
func (s *Service) Move(ctx context.Context, tx pgx.Tx, scope auth.Scope, key id.UUID, version int, to State, note string) (Statement, error) {
	st, err := s.Statement(ctx, tx, scope, key)
	if err != nil {
		return Statement{}, err
	}
	allowed := false
	for _, m := range moves[st.State] {
		allowed = allowed || m == to
	}
	switch {
	case !allowed:
		return Statement{}, ErrMove.With("from", st.State, "to", to)
	case to == StateDisputed && note == "":
		return Statement{}, ErrNote
	}
	tag, err := tx.Exec(ctx, moveStatementSQL, pg.Args{"id": key, "from": st.State, "to": to, "version": version, "note": note, "now": s.clock.Now()})
	if err != nil {
		return Statement{}, fmt.Errorf("move statement %s: %w", key, err)
	}
	if tag.RowsAffected() == 0 {
		return Statement{}, ErrStale
	}
	return s.Statement(ctx, tx, scope, key)
}

// StatementLine is one line of a statement, with its reason in people's words.
type StatementLine struct {
	OrderNo  string    `json:"order_no"`
	Seq      int       `json:"seq" doc:"1 is the first settling of the order, more are corrections"`
	N        int       `json:"n"`
	Kind     Kind      `json:"kind"`
	Role     string    `json:"role"`
	Unit     string    `json:"unit"`
	Fen      money.Fen `json:"fen" doc:"positive: owed to the entity"`
	WhyZH    string    `json:"why_zh"`
	WhyEN    string    `json:"why_en"`
	PostedAt time.Time `json:"posted_at"`
}

const statementLinesSQL = `
SELECT order_no, seq, n, kind, role, unit, CASE WHEN inward THEN -fen ELSE fen END, why_zh, why_en, posted_at
FROM commerce.settlement_lines
WHERE statement = @id AND (order_no, seq, n) > (@order, @seq, @n)
ORDER BY order_no, seq, n
LIMIT @limit`

// Lines returns the lines of a statement, after the given one. The caller has the statement, and so the scope.
func (s *Service) Lines(ctx context.Context, db pg.DB, st Statement, after StatementLine, limit int) ([]StatementLine, error) {
	rows, err := db.Query(ctx, statementLinesSQL, pg.Args{"id": st.ID, "order": after.OrderNo, "seq": after.Seq, "n": after.N, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("lines of statement %s: %w", st.ID, err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[StatementLine])
	if err != nil {
		return nil, fmt.Errorf("lines of statement %s: %w", st.ID, err)
	}
	return out, nil
}
