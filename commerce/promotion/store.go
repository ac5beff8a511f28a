package promotion

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

const promotionColumns = `spec, status, live_version, versions, revision, created_by, approved_by, created_at, updated_at`

const insertPromotionSQL = `
INSERT INTO commerce.promotions (code, name, kind, status, spec, created_by, created_at, updated_at)
VALUES (@code, @name, @kind, 'draft', @spec, @by, @now, @now)
RETURNING ` + promotionColumns

func insertPromotion(ctx context.Context, tx pgx.Tx, by string, spec Rule, now time.Time) (Promotion, error) {
	var p Promotion
	err := pg.InTx(ctx, tx, func(tx pgx.Tx) (err error) {
		p, err = onePromotion(ctx, tx, insertPromotionSQL, pg.Args{"code": spec.Promotion, "name": spec.Name, "kind": spec.Kind, "spec": spec, "by": by, "now": now})
		return err
	})
	if pg.Constraint(err) == "promotions_pkey" {
		return Promotion{}, ErrExists.With("code", spec.Promotion)
	}
	if err != nil {
		return Promotion{}, fmt.Errorf("create promotion %s: %w", spec.Promotion, err)
	}
	return p, nil
}

func onePromotion(ctx context.Context, db pg.DB, sql string, args pg.Args) (Promotion, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return Promotion{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Promotion])
}

const updatePromotionSQL = `
UPDATE commerce.promotions
SET name = @name, kind = @kind, spec = @spec, status = 'draft', approved_by = '', revision = revision + 1, updated_at = @now
WHERE code = @code AND revision = @revision
RETURNING ` + promotionColumns

func updatePromotion(ctx context.Context, tx pgx.Tx, spec Rule, revision int64, now time.Time) (Promotion, error) {
	p, err := onePromotion(ctx, tx, updatePromotionSQL, pg.Args{"code": spec.Promotion, "name": spec.Name, "kind": spec.Kind, "spec": spec, "revision": revision, "now": now})
	if pg.NoRows(err) {
		if _, err := getPromotion(ctx, tx, spec.Promotion); err != nil {
			return Promotion{}, err
		}
		return Promotion{}, ErrStale
	}
	if err != nil {
		return Promotion{}, fmt.Errorf("update promotion %s: %w", spec.Promotion, err)
	}
	return p, nil
}

const approvePromotionSQL = `
UPDATE commerce.promotions
SET status = 'approved', approved_by = @by, revision = revision + 1, updated_at = @now
WHERE code = @code AND status = 'draft'
RETURNING ` + promotionColumns

func approvePromotion(ctx context.Context, tx pgx.Tx, by, code string, now time.Time) (Promotion, error) {
	p, err := onePromotion(ctx, tx, approvePromotionSQL, pg.Args{"code": code, "by": by, "now": now})
	return p, transition(ctx, tx, err, code, StatusApproved)
}

// transition explains why an UPDATE … WHERE status = from changed nothing.
func transition(ctx context.Context, db pg.DB, err error, code string, to Status) error {
	if !pg.NoRows(err) {
		if err != nil {
			return fmt.Errorf("make promotion %s %s: %w", code, to, err)
		}
		return nil
	}
	p, err := getPromotion(ctx, db, code)
	if err != nil {
		return err
	}
	return ErrState.With("code", code, "from", p.Status, "to", to)
}

const publishPromotionSQL = `
WITH p AS (
    UPDATE commerce.promotions
    SET status = 'published', live_version = versions + 1, versions = versions + 1, revision = revision + 1, updated_at = @now
    WHERE code = @code AND status = 'approved'
    RETURNING *),
ended AS (
    UPDATE commerce.promotion_versions v
    SET stopped_by = @by, stopped_at = @now
    FROM p
    WHERE v.code = p.code AND v.version < p.live_version AND v.stopped_at IS NULL),
limits AS (
    SELECT code, NULLIF((spec #>> '{limits,total}')::bigint, 0) AS total, NULLIF((spec #>> '{limits,per_day}')::bigint, 0) AS per_day,
           NULLIF((spec #>> '{limits,budget_fen}')::bigint, 0) AS budget
    FROM p),
counters AS (
    UPDATE commerce.promotion_counters c
    SET max_used = CASE WHEN c.slot = '' THEN l.total ELSE l.per_day END, budget_fen = CASE WHEN c.slot = '' THEN l.budget END
    FROM limits l
    WHERE c.promotion = l.code),
v AS (
    INSERT INTO commerce.promotion_versions (code, version, spec, max_uses, max_per_day, budget_fen, published_by, published_at)
    SELECT p.code, p.live_version, p.spec, l.total, l.per_day, l.budget, @by, @now
    FROM p
    JOIN limits l USING (code))
SELECT ` + promotionColumns + `
FROM p`

func publishPromotion(ctx context.Context, tx pgx.Tx, by, code string, now time.Time) (Promotion, error) {
	p, err := onePromotion(ctx, tx, publishPromotionSQL, pg.Args{"code": code, "by": by, "now": now})
	return p, transition(ctx, tx, err, code, StatusPublished)
}

const stopPromotionSQL = `
WITH p AS (
    UPDATE commerce.promotions
    SET status = 'stopped', live_version = NULL, revision = revision + 1, updated_at = @now
    WHERE code = @code AND live_version IS NOT NULL
    RETURNING *),
ended AS (
    UPDATE commerce.promotion_versions v
    SET stopped_by = @by, stopped_at = @now
    FROM p
    WHERE v.code = p.code AND v.stopped_at IS NULL)
SELECT ` + promotionColumns + `
FROM p`

func stopPromotion(ctx context.Context, tx pgx.Tx, by, code string, now time.Time) (Promotion, error) {
	p, err := onePromotion(ctx, tx, stopPromotionSQL, pg.Args{"code": code, "by": by, "now": now})
	return p, transition(ctx, tx, err, code, StatusStopped)
}

const getPromotionSQL = `
SELECT ` + promotionColumns + `
FROM commerce.promotions
WHERE code = @code`

func getPromotion(ctx context.Context, db pg.DB, code string) (Promotion, error) {
	p, err := onePromotion(ctx, db, getPromotionSQL, pg.Args{"code": code})
	if pg.NoRows(err) {
		return Promotion{}, ErrNotFound.With("code", code)
	}
	if err != nil {
		return Promotion{}, fmt.Errorf("read promotion %s: %w", code, err)
	}
	return p, nil
}

const findPromotionsSQL = `
SELECT ` + promotionColumns + `
FROM commerce.promotions
WHERE (@status::text = '' OR status = @status) AND code > @after
ORDER BY code
LIMIT @limit`

func findPromotions(ctx context.Context, db pg.DB, status Status, after string, limit int) ([]Promotion, error) {
	rows, err := db.Query(ctx, findPromotionsSQL, pg.Args{"status": string(status), "after": after, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("find promotions: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Promotion])
	if err != nil {
		return nil, fmt.Errorf("find promotions: %w", err)
	}
	return all, nil
}

// Version is something that was published.
type Version struct {
	Version     int        `json:"version"`
	Spec        Rule       `json:"spec"`
	PublishedBy string     `json:"published_by"`
	PublishedAt time.Time  `json:"published_at"`
	StoppedBy   string     `json:"stopped_by"`
	StoppedAt   *time.Time `json:"stopped_at"`
	Uses        int64      `json:"uses" doc:"orders that hold it"`
	SpentFen    int64      `json:"spent_fen" doc:"discount they got"`
}

const findVersionsSQL = `
SELECT v.version, v.spec, v.published_by, v.published_at, v.stopped_by, v.stopped_at,
       (SELECT count(*) FROM commerce.promotion_uses u WHERE u.promotion = v.code AND u.version = v.version AND u.state = 'claimed') AS uses,
       (SELECT coalesce(sum(amount_fen), 0)::bigint FROM commerce.promotion_uses u
        WHERE u.promotion = v.code AND u.version = v.version AND u.state = 'claimed') AS spent
FROM commerce.promotion_versions v
WHERE v.code = @code
ORDER BY v.version DESC
LIMIT 200`

func findVersions(ctx context.Context, db pg.DB, code string) ([]Version, error) {
	rows, err := db.Query(ctx, findVersionsSQL, pg.Args{"code": code})
	if err != nil {
		return nil, fmt.Errorf("read versions: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Version])
	if err != nil {
		return nil, fmt.Errorf("read versions: %w", err)
	}
	return all, nil
}

// Publications, stops and changes of stacking follow one another, so that what is compiled is what is committed.
const lockSettingsSQL = `
SELECT revision
FROM commerce.promotion_settings
WHERE id = 1
FOR NO KEY UPDATE`

func lockSettings(ctx context.Context, tx pgx.Tx) error {
	var revision int64
	if err := tx.QueryRow(ctx, lockSettingsSQL).Scan(&revision); err != nil {
		return fmt.Errorf("lock promotion settings: %w", err)
	}
	return nil
}

const bumpRevisionSQL = `
UPDATE commerce.promotion_settings
SET revision = revision + 1
WHERE id = 1`

func bumpRevision(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, bumpRevisionSQL); err != nil {
		return fmt.Errorf("count the revision of promotions: %w", err)
	}
	return nil
}

const getStackingSQL = `
SELECT groups, caps, revision
FROM commerce.promotion_settings
WHERE id = 1`

func getStacking(ctx context.Context, db pg.DB) (Stacking, error) {
	var st Stacking
	if err := db.QueryRow(ctx, getStackingSQL).Scan(&st.Groups, &st.Caps, &st.Revision); err != nil {
		return Stacking{}, fmt.Errorf("read stacking: %w", err)
	}
	return st, nil
}

const putStackingSQL = `
UPDATE commerce.promotion_settings
SET groups = @groups, caps = @caps, revision = revision + 1
WHERE id = 1 AND revision = @revision
RETURNING revision`

func putStacking(ctx context.Context, tx pgx.Tx, st Stacking) (Stacking, error) {
	if st.Groups == nil {
		st.Groups = []Group{}
	}
	err := tx.QueryRow(ctx, putStackingSQL, pg.Args{"groups": st.Groups, "caps": st.Caps, "revision": st.Revision}).Scan(&st.Revision)
	if pg.NoRows(err) {
		return Stacking{}, ErrStale
	}
	if err != nil {
		return Stacking{}, fmt.Errorf("put stacking: %w", err)
	}
	return st, nil
}

const liveRulesSQL = `
SELECT v.version, v.spec
FROM commerce.promotions p
JOIN commerce.promotion_versions v ON v.code = p.code AND v.version = p.live_version
WHERE p.live_version IS NOT NULL
ORDER BY p.code`

func liveRules(ctx context.Context, db pg.DB) (Set, error) {
	st, err := getStacking(ctx, db)
	if err != nil {
		return Set{}, err
	}
	rows, err := db.Query(ctx, liveRulesSQL)
	if err != nil {
		return Set{}, fmt.Errorf("read live promotions: %w", err)
	}
	set := Set{Groups: st.Groups, Caps: st.Caps}
	set.Rules, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Rule, err error) {
		var version int
		err = row.Scan(&version, &r)
		r.Version = version
		return r, err
	})
	if err != nil {
		return Set{}, fmt.Errorf("read live promotions: %w", err)
	}
	return set, nil
}

// loadLive compiles what is live. The revision is read first: what is published meanwhile is loaded again next time.
func loadLive(ctx context.Context, db pg.DB) (*liveSet, error) {
	st, err := getStacking(ctx, db)
	if err != nil {
		return nil, err
	}
	set, err := liveRules(ctx, db)
	if err != nil {
		return nil, err
	}
	live := &liveSet{revision: st.Revision, limits: map[string]Limits{}, versions: map[string]int{}, counted: map[string]bool{}}
	for _, r := range set.Rules {
		live.limits[r.Promotion], live.versions[r.Promotion] = r.Limits, r.Version
		if r.Limits != (Limits{}) {
			live.counted[r.Promotion] = true
		}
		if r.Limits.PerMember > 0 {
			live.limited, live.most = append(live.limited, r.Promotion), append(live.most, r.Limits.PerMember)
		}
	}
	live.rules, err = Compile(set)
	return live, err
}

const readLiveSQL = `
SELECT s.revision,
       ARRAY(SELECT promotion FROM commerce.promotion_counters
             WHERE slot IN ('', @day) AND (used >= max_used OR spent_fen >= budget_fen)) AS spent,
       ARRAY(SELECT u.promotion
             FROM commerce.promotion_uses u
             JOIN unnest(@limited::text[], @most::bigint[]) AS l (promotion, most) USING (promotion)
             WHERE u.birth = ANY(@births) AND u.state = 'claimed'
             GROUP BY u.promotion, l.most
             HAVING count(*) >= l.most) AS had
FROM commerce.promotion_settings s
WHERE s.id = 1`

func readLive(ctx context.Context, db pg.DB, births []member.Birth, day string, set *liveSet) (int64, map[string]bool, error) {
	var revision int64
	var spent, had []string
	err := db.QueryRow(ctx, readLiveSQL, pg.Args{"day": day, "limited": set.limited, "most": set.most, "births": births}).Scan(&revision, &spent, &had)
	if err != nil {
		return 0, nil, fmt.Errorf("read what is left of promotions: %w", err)
	}
	exhausted := make(map[string]bool, len(spent)+len(had))
	for _, code := range append(spent, had...) {
		exhausted[code] = true
	}
	return revision, exhausted, nil
}
