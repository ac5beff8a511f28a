package points

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

const programmeColumns = `code, name, value_points, value_fen, earn_fen, rounding, validity, validity_n, pending_days, grace_days, tiers, status, version`

const programmesSQL = `
SELECT ` + programmeColumns + `
FROM member.programmes
WHERE @codes::text[] IS NULL OR code = ANY(@codes)
ORDER BY code`

// Programmes returns the programmes by code; with codes, only those.
func (s *Service) Programmes(ctx context.Context, db pg.DB, codes ...string) ([]Programme, error) {
	return findProgrammes(ctx, db, codes)
}

func findProgrammes(ctx context.Context, db pg.DB, codes []string) ([]Programme, error) {
	rows, err := db.Query(ctx, programmesSQL, pg.Args{"codes": codes})
	if err != nil {
		return nil, fmt.Errorf("read programmes: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Programme])
	if err != nil {
		return nil, fmt.Errorf("read programmes: %w", err)
	}
	return all, nil
}

// Programme returns one programme, or ErrNoProgramme.
func (s *Service) Programme(ctx context.Context, db pg.DB, code string) (Programme, error) {
	all, err := s.Programmes(ctx, db, code)
	if err != nil {
		return Programme{}, err
	}
	if len(all) == 0 {
		return Programme{}, ErrNoProgramme.With("programme", code)
	}
	return all[0], nil
}

func loadProgrammes(ctx context.Context, tx pgx.Tx, moves []move) (map[string]Programme, error) {
	codes := []string{}
	seen := map[string]bool{}
	for _, m := range moves {
		if !seen[m.Programme] {
			codes, seen[m.Programme] = append(codes, m.Programme), true
		}
	}
	all, err := findProgrammes(ctx, tx, codes)
	if err != nil {
		return nil, err
	}
	out := make(map[string]Programme, len(all))
	for _, p := range all {
		out[p.Code] = p
	}
	return out, nil
}

const createProgrammeSQL = `
INSERT INTO member.programmes (code, name, value_points, value_fen, earn_fen, rounding, validity, validity_n, pending_days,
    grace_days, tiers, status, created_at, updated_at)
VALUES (@code, @name, @value_points, @value_fen, @earn_fen, @rounding, @validity, @validity_n, @pending_days,
    @grace_days, @tiers, @status, @now, @now)`

// CreateProgramme stores a programme and opens its book. Empty rounding, validity and status mean floor, never, active. It
// fails with ErrInvalid or ErrProgrammeExists.
func (s *Service) CreateProgramme(ctx context.Context, tx pgx.Tx, p Programme) (Programme, error) {
	p = p.withDefaults()
	p.Version = 1
	if err := p.Validate(); err != nil {
		return Programme{}, err
	}
	now := s.clock.Now()
	err := pg.InTx(ctx, tx, func(tx pgx.Tx) error {
		args := p.args()
		args["now"] = now
		_, err := tx.Exec(ctx, createProgrammeSQL, args)
		return err
	})
	if pg.Constraint(err) == "programmes_pkey" {
		return Programme{}, ErrProgrammeExists.With("programme", p.Code)
	}
	if err != nil {
		return Programme{}, fmt.Errorf("create programme %s: %w", p.Code, err)
	}
	var accounts []ledger.Account
	for _, code := range []string{accountIssued, accountOutstanding, accountSpent, accountExpired, accountDebt} {
		accounts = append(accounts, ledger.Account{Code: code, Lane: ledger.LaneHot})
	}
	return p, s.ledger.Open(ctx, tx, Book(p.Code), Book(p.Code), now, accounts...)
}

const updateProgrammeSQL = `
UPDATE member.programmes
SET name = @name, value_points = @value_points, value_fen = @value_fen, earn_fen = @earn_fen, rounding = @rounding,
    validity = @validity, validity_n = @validity_n, pending_days = @pending_days, grace_days = @grace_days, tiers = @tiers,
    status = @status, version = version + 1, updated_at = @now
WHERE code = @code AND version = @version`

// UpdateProgramme stores a changed programme; lots granted before keep their terms. p.Version is the version that was
// read. It fails with ErrInvalid, ErrNoProgramme or ErrStale.
func (s *Service) UpdateProgramme(ctx context.Context, tx pgx.Tx, p Programme) (Programme, error) {
	p = p.withDefaults()
	if err := p.Validate(); err != nil {
		return Programme{}, err
	}
	args := p.args()
	args["now"], args["version"] = s.clock.Now(), p.Version
	tag, err := tx.Exec(ctx, updateProgrammeSQL, args)
	if err != nil {
		return Programme{}, fmt.Errorf("update programme %s: %w", p.Code, err)
	}
	if tag.RowsAffected() == 0 {
		if _, err := s.Programme(ctx, tx, p.Code); err != nil {
			return Programme{}, err
		}
		return Programme{}, ErrStale
	}
	p.Version++
	return p, nil
}

func (p Programme) withDefaults() Programme {
	if p.Rounding == "" {
		p.Rounding = RoundFloor
	}
	if p.Validity == "" {
		p.Validity = ValidityNever
	}
	if p.Status == "" {
		p.Status = StatusActive
	}
	if p.Tiers == nil {
		p.Tiers = []Tier{}
	}
	return p
}

func (p Programme) args() pg.Args {
	return pg.Args{
		"code": p.Code, "name": p.Name, "value_points": p.ValuePoints, "value_fen": p.ValueFen, "earn_fen": p.EarnFen,
		"rounding": p.Rounding, "validity": p.Validity, "validity_n": p.ValidityN, "pending_days": p.PendingDays,
		"grace_days": p.GraceDays, "tiers": p.Tiers, "status": p.Status,
	}
}

// Balance is what a member has in one programme.
type Balance struct {
	Programme    string     `json:"programme"`
	Active       int64      `json:"active" doc:"points in lots that can be spent now"`
	Pending      int64      `json:"pending" doc:"points in lots that can be spent later"`
	ExpiringSoon int64      `json:"expiring_soon" doc:"active points that run out within the days asked for"`
	NextExpiry   *time.Time `json:"next_expiry,omitempty"`
	Debt         int64      `json:"debt" doc:"points owed; paid before anything is spent"`
	Owed         int64      `json:"owed" doc:"points spent from lots that a split gave to another member"`
	Receivable   int64      `json:"receivable" doc:"points that another member spent from these lots before a split"`
	Spendable    int64      `json:"spendable" doc:"active less debt and owed, never below 0"`
	Worth        money.Fen  `json:"worth_fen" doc:"what the spendable points are worth"`
}

const balanceSQL = `
WITH lots AS (
    SELECT programme,
        sum(remaining) FILTER (WHERE active_at <= @at) AS active,
        sum(remaining) FILTER (WHERE active_at > @at) AS pending,
        sum(remaining) FILTER (WHERE active_at <= @at AND expires_at <= @soon) AS soon,
        min(expires_at) FILTER (WHERE active_at <= @at) AS next
    FROM member.point_lots
    WHERE birth = ANY(@births) AND remaining > 0 AND (expires_at IS NULL OR expires_at > @at)
    GROUP BY programme
), debts AS (
    SELECT programme, sum(points - settled - cancelled) AS debt
    FROM member.point_debts
    WHERE birth = ANY(@births) AND settled + cancelled < points
    GROUP BY programme
), strangers AS (
    SELECT programme,
        sum(points - refunded - charged) FILTER (WHERE birth <> ALL(@births)) AS owed,
        sum(points - refunded - charged) FILTER (WHERE spender <> ALL(@births)) AS receivable
    FROM member.point_allocations
    WHERE spender <> birth AND (spender = ANY(@births) OR birth = ANY(@births))
    GROUP BY programme
)
SELECT p.code, p.value_points, p.value_fen, coalesce(l.active, 0)::bigint, coalesce(l.pending, 0)::bigint, coalesce(l.soon, 0)::bigint,
    l.next, coalesce(d.debt, 0)::bigint, coalesce(s.owed, 0)::bigint, coalesce(s.receivable, 0)::bigint
FROM member.programmes p
LEFT JOIN lots l ON l.programme = p.code
LEFT JOIN debts d ON d.programme = p.code
LEFT JOIN strangers s ON s.programme = p.code
ORDER BY p.code`

// Balance returns what the member with these births has at the instant, one balance per programme. within says how near
// an expiry counts as soon. Births are the whole cluster.
func (s *Service) Balance(ctx context.Context, db pg.DB, births []member.Birth, at time.Time, within time.Duration) ([]Balance, error) {
	rows, err := db.Query(ctx, balanceSQL, pg.Args{"births": births, "at": at, "soon": at.Add(within)})
	if err != nil {
		return nil, fmt.Errorf("balance of points: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (b Balance, err error) {
		var p Programme
		err = row.Scan(&b.Programme, &p.ValuePoints, &p.ValueFen, &b.Active, &b.Pending, &b.ExpiringSoon, &b.NextExpiry, &b.Debt, &b.Owed, &b.Receivable)
		b.Spendable = max(b.Active-b.Debt-b.Owed, 0)
		b.Worth = p.Worth(b.Spendable)
		return b, err
	})
	if err != nil {
		return nil, fmt.Errorf("balance of points: %w", err)
	}
	return all, nil
}

const memberLotsSQL = `
SELECT ` + lotColumns + `
FROM member.point_lots
WHERE birth = ANY(@births) AND (@programme = '' OR programme = @programme) AND key < @before
ORDER BY key DESC
LIMIT @limit`

// Lots returns lots of the births, newest key first, after the given key (zero: from the start).
func (s *Service) Lots(ctx context.Context, db pg.DB, births []member.Birth, programme string, before id.UUID, limit int) ([]Lot, error) {
	if before == (id.UUID{}) {
		before = id.UUID{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	rows, err := db.Query(ctx, memberLotsSQL, pg.Args{"births": births, "programme": programme, "before": before, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("read lots: %w", err)
	}
	lots, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Lot])
	if err != nil {
		return nil, fmt.Errorf("read lots: %w", err)
	}
	return lots, nil
}

// Figures are the sums of a programme's tables, which the ledger must equal.
type Figures struct {
	Programme   string `json:"programme"`
	Issued      int64  `json:"issued"`
	Outstanding int64  `json:"outstanding"`
	Spent       int64  `json:"spent"`
	Expired     int64  `json:"expired"`
	Debt        int64  `json:"debt"`
}

const figuresSQL = `
SELECT p.code,
    coalesce((SELECT sum(CASE kind WHEN 'grant' THEN points ELSE -points END) FROM member.point_moves m WHERE m.programme = p.code AND kind IN ('grant', 'revoke')), 0)::bigint,
    coalesce((SELECT sum(remaining) FROM member.point_lots l WHERE l.programme = p.code), 0)::bigint,
    coalesce((SELECT sum(CASE kind WHEN 'spend' THEN points ELSE -points END) FROM member.point_moves m WHERE m.programme = p.code AND kind IN ('spend', 'refund')), 0)::bigint,
    coalesce((SELECT sum(expired) FROM member.point_lots l WHERE l.programme = p.code), 0)::bigint,
    coalesce((SELECT sum(points - settled - cancelled) FROM member.point_debts d WHERE d.programme = p.code), 0)::bigint
FROM member.programmes p
ORDER BY p.code`

// ErrDisagree is returned by Check when tables and ledger differ.
var ErrDisagree = errors.New("points: lots and ledger disagree")

// Check adds up every programme from its tables and compares with its book: Σ lots = balances = ledger. It reads one
// snapshot, so it may run beside anything.
func (s *Service) Check(ctx context.Context, db pg.DB) ([]Figures, error) {
	var all []Figures
	var differences error
	err := pg.InTx(ctx, db, func(tx pgx.Tx) error {
		if _, nested := db.(pgx.Tx); !nested {
			if _, err := tx.Exec(ctx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY`); err != nil {
				return err
			}
		}
		rows, err := tx.Query(ctx, figuresSQL)
		if err != nil {
			return err
		}
		if all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Figures]); err != nil {
			return err
		}
		for _, f := range all {
			want := map[string]int64{
				accountIssued: -f.Issued, accountOutstanding: f.Outstanding, accountSpent: f.Spent, accountExpired: f.Expired, accountDebt: -f.Debt,
			}
			booked, err := s.ledger.Balances(ctx, tx, Book(f.Programme), "")
			if err != nil {
				return err
			}
			for _, b := range booked {
				if b.Balance != want[b.Account] {
					differences = errors.Join(differences, fmt.Errorf("%w: programme %s, %s: tables %d, ledger %d",
						ErrDisagree, f.Programme, b.Account, want[b.Account], b.Balance))
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("check points: %w", err)
	}
	return all, differences
}
