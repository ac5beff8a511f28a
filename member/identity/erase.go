package identity

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// suppressSQL remembers the identifiers of the births and puts noise in their place, so that nothing leads from an
// identifier to the person any more and a replay of old facts finds the suppression.
const suppressSQL = `
WITH gone AS (
    SELECT i.ns, i.scope, i.vh, i.epoch
    FROM unnest(@births::bigint[]) AS b (birth)
    JOIN member.births o USING (birth)
    JOIN member.identifiers i ON i.ns = o.ns AND i.scope = o.scope AND i.birth = o.birth
), kept AS (
    INSERT INTO member.suppressed AS s (ns, scope, vh, erased_at)
    SELECT DISTINCT ns, scope, vh, @now::timestamptz
    FROM gone
    ON CONFLICT (ns, scope, vh) DO UPDATE
    SET erased_at = GREATEST(s.erased_at, EXCLUDED.erased_at)
)
UPDATE member.identifiers i
SET vh = decode(md5(random()::text || i.birth::text), 'hex')
FROM gone g
WHERE i.ns = g.ns AND i.scope = g.scope AND i.vh = g.vh AND i.epoch = g.epoch`

const tombstoneSQL = `
UPDATE member.births
SET erased_at = @now, person = false
WHERE birth = ANY(@births)`

const forgetSQL = `
WITH attributes AS (
    DELETE FROM member.attributes
    WHERE birth = ANY(@births)
), tags AS (
    DELETE FROM member.tags
    WHERE birth = ANY(@births)
)
DELETE FROM member.consents
WHERE birth = ANY(@births)`

// Erase deletes what is known about the person behind a member and keeps the skeleton of numbers that ledgers and counts
// rest on: data keys are shredded, attributes, tags and consent deleted, identifiers replaced by noise and suppressed, so
// that replaying old facts does not bring the person back. Facts after the erasure begin a new member.
func (s *Service) Erase(ctx context.Context, tx pgx.Tx, secrets *member.Secrets, birth member.Birth, actor, reason string) (Cluster, error) {
	if reason == "" {
		return Cluster{}, ErrReason
	}
	if _, err := s.operation(ctx, tx, "erased", actor, reason, birth); err != nil {
		return Cluster{}, err
	}
	c, err := s.Cluster(ctx, tx, birth)
	if err != nil {
		return Cluster{}, err
	}
	now := s.clock.Now()
	var b pgx.Batch
	args := pg.Args{"births": ints(c.Births)}
	b.Queue(lockMembersSQL, pg.Args{"ids": []int64{int64(c.Root)}})
	b.Queue(suppressSQL, pg.Args{"births": ints(c.Births), "now": now})
	b.Queue(tombstoneSQL, pg.Args{"births": ints(c.Births), "now": now})
	b.Queue(forgetSQL, args)
	queueRefresh(&b, []member.ID{c.Root}, now)
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return Cluster{}, fmt.Errorf("erase member %s: %w", c.Root, err)
	}
	if err := secrets.Shred(ctx, tx, c.Births); err != nil {
		return Cluster{}, err
	}
	if err := s.log.Touch(ctx, tx, []member.Birth{member.Birth(c.Root)}, activity.KeyIdentity, member.ModeLive, now); err != nil {
		return Cluster{}, err
	}
	return c, s.bus.Publish(ctx, tx, Erased{Root: c.Root, Births: c.Births, Actor: actor})
}
