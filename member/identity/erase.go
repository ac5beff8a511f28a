package identity

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/cluster"
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
UPDATE member.births b
SET erased_at = @now, person = false, tie = v.tie
FROM unnest(@births::bigint[], @ties::bigint[]) AS v (birth, tie)
WHERE b.birth = v.birth`

// veil returns other ties for the births of an erased member, in their order: a tie comes from the identifier and must not
// lead back to it, and nobody else's cluster may change because it is gone. They are spread between the ties of those who
// stay, so they say nothing but their order.
func veil(component map[member.Birth]*birthRow, erased []member.Birth) []int64 {
	nodes := make([]Node, 0, len(component))
	for _, r := range component {
		nodes = append(nodes, r.Node)
	}
	slices.SortFunc(nodes, func(x, y Node) int { return cmp.Or(cmp.Compare(x.Tie, y.Tie), cmp.Compare(x.Birth, y.Birth)) })
	ties := make(map[member.Birth]int64, len(erased))
	const sign = 1 << 63 // makes the order of int64 that of uint64
	low := uint64(0)
	for i := 0; i < len(nodes); {
		end := i
		for end < len(nodes) && slices.Contains(erased, nodes[end].Birth) {
			end++
		}
		high := uint64(math.MaxUint64)
		if end < len(nodes) {
			high = uint64(nodes[end].Tie) ^ sign
		}
		step := (high - low) / uint64(end-i+1)
		for k, n := range nodes[i:end] {
			ties[n.Birth] = int64((low + uint64(k+1)*step) ^ sign)
		}
		low = high
		i = end + 1
	}
	out := make([]int64, len(erased))
	for i, b := range erased {
		out[i] = ties[b]
	}
	return out
}

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
func (s *Service) Erase(ctx context.Context, tx pgx.Tx, secrets *member.Secrets, birth member.Birth, actor, reason string) (cluster.Cluster, error) {
	if reason == "" {
		return cluster.Cluster{}, ErrReason
	}
	op, err := s.operation(ctx, tx, "erased", actor, reason, birth)
	if err != nil {
		return cluster.Cluster{}, err
	}
	c, err := cluster.Get(ctx, tx, birth)
	if err != nil {
		return cluster.Cluster{}, err
	}
	now := s.clock.Now()
	var b pgx.Batch
	args := pg.Args{"births": ints(c.Births)}
	b.Queue(lockMembersSQL, pg.Args{"ids": []int64{int64(c.Root)}})
	b.Queue(suppressSQL, pg.Args{"births": ints(c.Births), "now": now})
	b.Queue(tombstoneSQL, pg.Args{"births": ints(c.Births), "ties": veil(op.births, c.Births), "now": now})
	b.Queue(forgetSQL, args)
	queueRefresh(&b, []member.ID{c.Root}, []member.ID{c.Root}, now)
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return cluster.Cluster{}, fmt.Errorf("erase member %s: %w", c.Root, err)
	}
	if err := secrets.Shred(ctx, tx, c.Births); err != nil {
		return cluster.Cluster{}, err
	}
	if err := s.log.Touch(ctx, tx, []member.Birth{member.Birth(c.Root)}, activity.KeyIdentity, member.ModeLive, now); err != nil {
		return cluster.Cluster{}, err
	}
	return c, s.bus.Publish(ctx, tx, Erased{Root: c.Root, Births: c.Births, Actor: actor})
}
