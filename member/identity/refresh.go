package identity

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

const rootsOfSQL = `
SELECT DISTINCT root
FROM member.births
WHERE birth = ANY(@births)`

// The laterals with OFFSET 0 and LIMIT make both statements probe by birth, whatever the planner thinks of the tables.

// refreshMembersSQL derives the rows of clusters from their births: the newest statement of an attribute wins (ties: the
// smaller births.tie), tags are united, times are the earliest.
const refreshMembersSQL = `
INSERT INTO member.members AS m (id, is_member, registered_at, first_fact_at, home_store, attrs, tags, updated_at)
SELECT r.id, c.person, c.registered_at, c.first_fact_at, a.attrs ->> 'home_store', coalesce(a.attrs, '{}'), coalesce(t.tags, '{}'), @now
FROM unnest(@roots::bigint[]) AS r (id)
JOIN LATERAL (
    SELECT bool_or(b.person AND b.erased_at IS NULL) AS person, min(b.registered_at) AS registered_at, min(b.first_fact_at) AS first_fact_at,
           array_agg(b.birth) AS births, array_agg(b.tie) AS ties
    FROM member.births b
    WHERE b.root = r.id
    HAVING count(*) > 0
) c ON true
LEFT JOIN LATERAL (
    SELECT jsonb_object_agg(x.name, x.value) FILTER (WHERE x.value <> 'null') AS attrs
    FROM (
        SELECT DISTINCT ON (s.name) s.name, s.value
        FROM unnest(c.births, c.ties) AS b (birth, tie)
        CROSS JOIN LATERAL (SELECT name, value, at FROM member.attributes WHERE birth = b.birth OFFSET 0) s
        ORDER BY s.name, s.at DESC, b.tie, b.birth
    ) x
) a ON true
LEFT JOIN LATERAL (
    SELECT array_agg(DISTINCT g.tag ORDER BY g.tag) AS tags
    FROM unnest(c.births) AS b (birth)
    CROSS JOIN LATERAL (SELECT tag FROM member.tags WHERE birth = b.birth OFFSET 0) g
) t ON true
ON CONFLICT (id) DO UPDATE
SET is_member = EXCLUDED.is_member, registered_at = EXCLUDED.registered_at, first_fact_at = EXCLUDED.first_fact_at,
    home_store = EXCLUDED.home_store, attrs = EXCLUDED.attrs, tags = EXCLUDED.tags, version = m.version + 1, updated_at = @now`

// openMembersSQL makes the rows of new clusters, so that they can be locked; Refresh fills them.
const openMembersSQL = `
INSERT INTO member.members (id, is_member, updated_at)
SELECT id, false, @now
FROM unnest(@roots::bigint[]) AS r (id)
ORDER BY id
ON CONFLICT DO NOTHING`

const clearReachSQL = `
DELETE FROM member.reach
WHERE id = ANY(@roots)`

// refreshReachSQL derives, per cluster and channel, the identity to deliver to and whether consent stands. Of several
// identities the one with consent of its own comes first, then the one seen last with the member (looked up only if there
// are several). Its own last word decides; without one, every birth of the cluster that has said something must have
// granted last (the most restrictive wins); silence is refusal.
const refreshReachSQL = `
INSERT INTO member.reach (id, channel, birth, granted)
SELECT i.id, i.channel, i.birth, coalesce(i.own, said.granted, false)
FROM (
    SELECT DISTINCT ON (b.root, b.channel) b.root AS id, b.channel, b.birth, own.granted AS own
    FROM (
        SELECT b.root, ch.channel, b.birth, b.tie, count(*) OVER (PARTITION BY b.root, ch.channel) > 1 AS several
        FROM member.births b
        JOIN unnest(@channels::text[], @namespaces::text[]) AS ch (channel, ns) ON ch.ns = b.ns
        WHERE b.root = ANY(@roots) AND b.erased_at IS NULL AND NOT b.quarantined
    ) b
    LEFT JOIN LATERAL (
        SELECT k.granted
        FROM member.consents k
        WHERE k.birth = b.birth AND k.channel = b.channel
        ORDER BY k.at DESC
        LIMIT 1
    ) own ON true
    ORDER BY b.root, b.channel, (own.granted IS TRUE) DESC, (own.granted IS NOT NULL) DESC,
             CASE WHEN b.several THEN member.seen_at(b.birth, b.root) END DESC NULLS LAST, b.tie
) i
LEFT JOIN LATERAL (
    SELECT bool_and(last.granted) AS granted
    FROM member.births b
    CROSS JOIN LATERAL (
        SELECT k.granted
        FROM member.consents k
        WHERE k.birth = b.birth AND k.channel = i.channel
        ORDER BY k.at DESC
        LIMIT 1
    ) last
    WHERE b.root = i.id AND i.own IS NULL
) said ON true
ON CONFLICT (id, channel) DO UPDATE
SET birth = EXCLUDED.birth, granted = EXCLUDED.granted`

const removeMembersSQL = `
DELETE FROM member.members
WHERE id = ANY(@roots)`

// queueRefresh derives the rows of clusters again; had are those of them that may have rows in member.reach.
func queueRefresh(b *pgx.Batch, roots, had []member.ID, now time.Time) {
	b.Queue(refreshMembersSQL, pg.Args{"roots": ints(roots), "now": now})
	if len(had) > 0 {
		b.Queue(clearReachSQL, pg.Args{"roots": ints(had)})
	}
	queueReach(b, roots)
}

func queueReach(b *pgx.Batch, roots []member.ID) {
	channels, spaces := channelNamespaces()
	b.Queue(refreshReachSQL, pg.Args{"roots": ints(roots), "channels": channels, "namespaces": spaces})
}

func queueRemove(b *pgx.Batch, roots []member.ID) {
	b.Queue(removeMembersSQL, pg.Args{"roots": ints(roots)})
	b.Queue(clearReachSQL, pg.Args{"roots": ints(roots)})
}

func channelNamespaces() (channels, spaces []string) {
	for _, n := range namespaces {
		for _, ch := range n.Channels {
			channels, spaces = append(channels, ch), append(spaces, n.Code)
		}
	}
	return channels, spaces
}

// Refresh derives member.members and member.reach again for the members that now hold the given ids, after profile,
// tags, consent or times of their births changed in this transaction. It locks the member rows in order first, so it
// follows writes to attributes, tags and consents and precedes nothing but feed rows.
func (s *Service) Refresh(ctx context.Context, tx pgx.Tx, ids []member.ID) error {
	if len(ids) == 0 {
		return nil
	}
	roots, err := rootsOf(ctx, tx, ints(ids))
	if err != nil {
		return err
	}
	rows, err := tx.Query(ctx, lockMembersSQL, pg.Args{"ids": ints(roots)})
	if err != nil {
		return fmt.Errorf("lock members: %w", err)
	}
	locked, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("lock members: %w", err)
	}
	if len(locked) != len(roots) {
		return fmt.Errorf("a member merged before its lock: %w", pg.ErrRetry)
	}
	var b pgx.Batch
	queueRefresh(&b, roots, roots, s.clock.Now())
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("refresh members: %w", err)
	}
	return nil
}

func rootsOf(ctx context.Context, db pg.DB, births []int64) ([]member.ID, error) {
	rows, err := db.Query(ctx, rootsOfSQL, pg.Args{"births": births})
	if err != nil {
		return nil, fmt.Errorf("roots: %w", err)
	}
	roots, err := pgx.CollectRows(rows, pgx.RowTo[member.ID])
	if err != nil {
		return nil, fmt.Errorf("roots: %w", err)
	}
	slices.Sort(roots)
	return roots, nil
}
