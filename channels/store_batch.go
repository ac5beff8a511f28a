package channels

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

const insertPlannedSQL = `
INSERT INTO channels.messages (birth, id, send_key, account, channel, template, template_version, locale, lane, campaign,
    vars, journey, journey_version, node, run, quiet_from, quiet_to, planned_at, due_at, expires_at, state, state_at, reason)
SELECT birth, id, send_key, account, channel, template, template_version, locale, lane, campaign,
    vars::jsonb, journey, journey_version, node, run, quiet_from, quiet_to, @now, CASE WHEN state = 'planned' THEN due_at END, expires_at, state, @now, reason
FROM unnest(@births::bigint[], @ids::bigint[], @send_keys::uuid[], @accounts::text[], @channels::text[], @templates::text[],
        @template_versions::int[], @locales::text[], @lanes::text[], @campaigns::text[], @vars::text[], @journeys::text[],
        @journey_versions::int[], @nodes::text[], @runs::text[], @quiet_froms::smallint[],
        @quiet_tos::smallint[], @dues::timestamptz[], @expires::timestamptz[],
        @states::text[], @reasons::text[])
    AS t (birth, id, send_key, account, channel, template, template_version, locale, lane, campaign, vars, journey,
        journey_version, node, run, quiet_from, quiet_to, due_at, expires_at, state, reason)
ON CONFLICT ON CONSTRAINT messages_pkey DO NOTHING`

func (store) insertPlanned(ctx context.Context, tx pgx.Tx, rows []planned, now time.Time) error {
	n := len(rows)
	var (
		births, ids                         = make([]int64, n), make([]int64, n)
		keys                                = make([]id.UUID, n)
		versions, journeyVersions           = make([]int, n), make([]int, n)
		quietFroms, quietTos                = make([]int16, n), make([]int16, n)
		dues, expires                       = make([]time.Time, n), make([]time.Time, n)
		accounts, channels, templates       = make([]string, n), make([]string, n), make([]string, n)
		locales, lanes, campaigns, vars     = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		journeys, nodes, runs, states, whys = make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	)
	// In key order, so that two planners with overlapping keys wait for each other rather than deadlock.
	slices.SortStableFunc(rows, func(a, b planned) int {
		if a.Birth != b.Birth {
			return int(min(max(a.Birth-b.Birth, -1), 1))
		}
		return slices.Compare(a.SendKey[8:], b.SendKey[8:])
	})
	for i, r := range rows {
		ref := RefOf(r.Birth, r.SendKey)
		raw := []byte("{}")
		if len(r.Vars) > 0 {
			var err error
			if raw, err = json.Marshal(r.Vars); err != nil {
				return ErrIntent.Because(fmt.Errorf("encode variables: %w", err))
			}
		}
		births[i], ids[i], keys[i] = int64(ref.Birth), ref.ID, r.SendKey
		accounts[i], channels[i], templates[i], versions[i] = r.Account, string(r.Channel), r.Template, r.version
		locales[i], lanes[i], campaigns[i], vars[i] = r.Locale, string(r.Lane), r.Campaign, string(raw)
		journeys[i], journeyVersions[i], nodes[i], runs[i] = r.Journey, r.Version, r.Node, r.Run
		quietFroms[i], quietTos[i] = int16(r.Quiet.From), int16(r.Quiet.To)
		dues[i], expires[i], states[i], whys[i] = r.At, r.ExpiresAt, string(r.state), string(r.reason)
	}
	_, err := tx.Exec(ctx, insertPlannedSQL, pg.Args{
		"births": births, "ids": ids, "send_keys": keys, "accounts": accounts, "channels": channels, "templates": templates,
		"template_versions": versions, "locales": locales, "lanes": lanes, "campaigns": campaigns, "vars": vars,
		"journeys": journeys, "journey_versions": journeyVersions, "nodes": nodes, "runs": runs, "quiet_froms": quietFroms, "quiet_tos": quietTos, "dues": dues,
		"expires": expires, "states": states, "reasons": whys, "now": now,
	})
	if err != nil {
		return fmt.Errorf("plan messages: %w", err)
	}
	return nil
}

// One lane at a time: the index then serves exactly the due rows in due order, however many wait for later.
const claimSQL = `
SELECT birth, id, send_key, account, channel, template, template_version, locale, lane, campaign, vars, journey,
    journey_version, node, run, quiet_from, quiet_to, expires_at, attempts
FROM channels.messages
WHERE account = @account AND priority = @priority AND due_at <= @now AND mod(birth, @shards) = @shard
ORDER BY due_at
LIMIT @limit`

// claim reads what is due. The lease is what keeps others out; markHandedOver re-checks the state of each row.
func (store) claim(ctx context.Context, tx pgx.Tx, account string, shard int, s AccountSettings, now time.Time) ([]Message, error) {
	out := make([]Message, 0, s.Batch)
	for priority := 1; priority <= 3 && len(out) < s.Batch; priority++ {
		rows, err := tx.Query(ctx, claimSQL, pg.Args{
			"account": account, "priority": priority, "now": now, "shards": s.Shards, "shard": shard, "limit": s.Batch - len(out),
		})
		if err != nil {
			return nil, fmt.Errorf("claim messages: %w", err)
		}
		out, err = pgx.AppendRows(out, rows, func(row pgx.CollectableRow) (Message, error) {
			m := Message{State: StatePlanned}
			err := row.Scan(&m.Birth, &m.ID, &m.SendKey, &m.Account, &m.Channel, &m.Template, &m.TemplateVersion, &m.Locale, &m.Lane,
				&m.Campaign, &m.Vars, &m.Journey, &m.JourneyVersion, &m.Node, &m.Run, &m.Quiet.From, &m.Quiet.To,
				&m.ExpiresAt, &m.Attempts)
			return m, err
		})
		if err != nil {
			return nil, fmt.Errorf("claim messages: %w", err)
		}
	}
	return out, nil
}

// What the members of the births got, or may have got.
const historySQL = `
SELECT birth, handed_at, channel, campaign, lane, journey, node, template
FROM channels.messages
WHERE birth = ANY(@births) AND handed_at > @since AND state NOT IN ('planned', 'failed', 'suppressed')`

func (store) history(ctx context.Context, tx pgx.Tx, births []member.Birth, since time.Time) ([]past, error) {
	rows, err := tx.Query(ctx, historySQL, pg.Args{"births": births, "since": since})
	if err != nil {
		return nil, fmt.Errorf("read message history: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (past, error) {
		var (
			p past
			m Message
		)
		err := row.Scan(&p.birth, &p.At, &p.Channel, &p.Campaign, &p.lane, &m.Journey, &m.Node, &m.Template)
		p.duplicate = duplicateKey(m)
		return p, err
	})
}

const blockedSQL = `
SELECT birth
FROM channels.blocks
WHERE birth = ANY(@births) AND channel = @channel`

func (store) blocked(ctx context.Context, tx pgx.Tx, c Channel, births []member.Birth) (map[member.Birth]bool, error) {
	rows, err := tx.Query(ctx, blockedSQL, pg.Args{"births": births, "channel": string(c)})
	if err != nil {
		return nil, fmt.Errorf("read blocked addresses: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[member.Birth])
	out := make(map[member.Birth]bool, len(list))
	for _, b := range list {
		out[b] = true
	}
	return out, err
}

const settleSQL = `
UPDATE channels.messages m
SET state = t.state, state_at = @now, reason = t.reason, due_at = t.due_at
FROM unnest(@births::bigint[], @ids::bigint[], @states::text[], @reasons::text[], @dues::timestamptz[])
    AS t (birth, id, state, reason, due_at)
WHERE m.birth = t.birth AND m.id = t.id AND m.state = 'planned'`

// settle writes what was decided about messages that do not leave now.
func (store) settle(ctx context.Context, tx pgx.Tx, changes []change, now time.Time) error {
	if len(changes) == 0 {
		return nil
	}
	n := len(changes)
	births, ids := make([]int64, n), make([]int64, n)
	states, reasons, dues := make([]string, n), make([]string, n), make([]*time.Time, n)
	for i, c := range changes {
		births[i], ids[i], states[i], reasons[i], dues[i] = int64(c.Birth), c.ID, string(c.State), string(c.Reason), c.Due
	}
	if _, err := tx.Exec(ctx, settleSQL, pg.Args{
		"births": births, "ids": ids, "states": states, "reasons": reasons, "dues": dues, "now": now,
	}); err != nil {
		return fmt.Errorf("settle messages: %w", err)
	}
	return nil
}

const markHandedOverSQL = `
UPDATE channels.messages m
SET state = 'handed_over', state_at = @now, reason = '', due_at = NULL, handed_at = @now, attempts = m.attempts + 1, epoch = @epoch,
    address = t.address
FROM unnest(@births::bigint[], @ids::bigint[], @addresses::bigint[]) AS t (birth, id, address)
WHERE m.birth = t.birth AND m.id = t.id AND m.state = 'planned'
RETURNING m.birth, m.id`

func (store) markHandedOver(ctx context.Context, tx pgx.Tx, list []outbound, epoch int64, now time.Time) (map[Ref]bool, error) {
	births, ids := columnsOf(list)
	addresses := make([]int64, len(list))
	for i, o := range list {
		addresses[i] = int64(o.address)
	}
	rows, err := tx.Query(ctx, markHandedOverSQL, pg.Args{"births": births, "ids": ids, "addresses": addresses, "epoch": epoch, "now": now})
	if err != nil {
		return nil, fmt.Errorf("mark handed over: %w", err)
	}
	refs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Ref])
	if err != nil {
		return nil, fmt.Errorf("mark handed over: %w", err)
	}
	out := make(map[Ref]bool, len(refs))
	for _, r := range refs {
		out[r] = true
	}
	return out, nil
}

func columnsOf(list []outbound) (births, ids []int64) {
	births, ids = make([]int64, len(list)), make([]int64, len(list))
	for i, o := range list {
		births[i], ids[i] = int64(o.Birth), o.ID
	}
	return births, ids
}

const insertHandoverSQL = `
INSERT INTO channels.handovers (id, account, shard, epoch, births, ids, at)
VALUES (@id, @account, @shard, @epoch, @births, @ids, @now)`

func (store) insertHandover(ctx context.Context, tx pgx.Tx, b batch, now time.Time) error {
	births, ids := columnsOf(b.messages)
	if _, err := tx.Exec(ctx, insertHandoverSQL, pg.Args{
		"id": b.id, "account": b.account.Code, "shard": b.shard, "epoch": b.lease.Epoch, "births": births, "ids": ids, "now": now,
	}); err != nil {
		return fmt.Errorf("record handover: %w", err)
	}
	return nil
}

const deleteHandoverSQL = `
DELETE FROM channels.handovers
WHERE id = @id`

func (store) deleteHandover(ctx context.Context, tx pgx.Tx, batchID id.UUID) error {
	if _, err := tx.Exec(ctx, deleteHandoverSQL, pg.Args{"id": batchID}); err != nil {
		return fmt.Errorf("close handover: %w", err)
	}
	return nil
}

// Shards that the account no longer has are settled by shard 0.
const settleAbandonedSQL = `
WITH gone AS (
    DELETE FROM channels.handovers
    WHERE account = @account AND epoch < @epoch AND (shard = @shard OR @shard = 0 AND shard >= @shards)
    RETURNING births, ids
), each AS (
    SELECT t.birth, t.id
    FROM gone, unnest(gone.births, gone.ids) AS t (birth, id)
), asked AS (
    INSERT INTO channels.unknowns (birth, id, account, next_at)
    SELECT birth, id, @account, @now::timestamptz + interval '1 minute'
    FROM each
    WHERE @state = 'unknown'
    ORDER BY birth, id
    ON CONFLICT DO NOTHING
)
UPDATE channels.messages m
SET state = @state, state_at = @now, reason = 'crash',
    due_at = CASE WHEN @state = 'planned' THEN @now::timestamptz END,
    handed_at = CASE WHEN @state = 'planned' THEN NULL ELSE m.handed_at END
FROM each
WHERE m.birth = each.birth AND m.id = each.id AND m.state = 'handed_over'`

func (store) settleAbandoned(ctx context.Context, tx pgx.Tx, a Account, shard int, epoch int64, now time.Time) (int64, error) {
	state := StateUnknown
	if a.Settings.Idempotent {
		state = StatePlanned
	}
	tag, err := tx.Exec(ctx, settleAbandonedSQL, pg.Args{
		"account": a.Code, "shard": shard, "shards": a.Settings.Shards, "epoch": epoch, "state": string(state), "now": now,
	})
	if err != nil {
		return 0, fmt.Errorf("settle abandoned messages of %s: %w", a.Code, err)
	}
	return tag.RowsAffected(), nil
}

const recordResultsSQL = `
UPDATE channels.messages m
SET state = t.state, state_at = @now, reason = t.reason, code = t.code, due_at = t.due_at,
    handed_at = CASE WHEN t.state = 'planned' THEN NULL ELSE m.handed_at END,
    attempts = m.attempts - t.released, provider_id = t.provider_id,
    sealed = t.sealed, sealed_until = CASE WHEN t.sealed IS NOT NULL THEN @sealed_until::timestamptz END
FROM unnest(@births::bigint[], @ids::bigint[], @states::text[], @reasons::text[], @codes::text[], @dues::timestamptz[],
        @released::smallint[], @provider_ids::text[], @sealed::bytea[])
    AS t (birth, id, state, reason, code, due_at, released, provider_id, sealed)
WHERE m.birth = t.birth AND m.id = t.id AND m.state = 'handed_over' AND m.epoch = @epoch`

// A receipt may be quicker than the answer of the provider: the state is ahead then and stays.
const recordOvertakenSQL = `
UPDATE channels.messages m
SET provider_id = t.provider_id, sealed = t.sealed,
    sealed_until = CASE WHEN t.sealed IS NOT NULL THEN @sealed_until::timestamptz END
FROM unnest(@births::bigint[], @ids::bigint[], @states::text[], @provider_ids::text[], @sealed::bytea[])
    AS t (birth, id, state, provider_id, sealed)
WHERE m.birth = t.birth AND m.id = t.id AND m.epoch = @epoch AND t.state = 'accepted' AND m.provider_id = ''
    AND m.state IN ('delivered', 'read', 'clicked', 'failed')`

func (store) recordResults(ctx context.Context, tx pgx.Tx, results []settled, epoch int64, now time.Time) error {
	n := len(results)
	births, ids := make([]int64, n), make([]int64, n)
	states, reasons, codes, provider := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	dues, released, sealed := make([]*time.Time, n), make([]int16, n), make([][]byte, n)
	for i, r := range results {
		births[i], ids[i], states[i], reasons[i] = int64(r.Birth), r.ID, string(r.state), string(r.reason)
		codes[i], provider[i], dues[i] = r.Code, r.ProviderID, r.due
		if r.state == StateAccepted || r.state == StateUnknown {
			sealed[i] = r.sealed
		}
		if r.release {
			released[i] = 1
		}
	}
	until := now.Add(sealedFor)
	tag, err := tx.Exec(ctx, recordResultsSQL, pg.Args{
		"births": births, "ids": ids, "states": states, "reasons": reasons, "codes": codes, "dues": dues, "released": released,
		"provider_ids": provider, "sealed": sealed, "sealed_until": until, "epoch": epoch, "now": now,
	})
	if err != nil {
		return fmt.Errorf("record results: %w", err)
	}
	if int(tag.RowsAffected()) < n {
		if _, err := tx.Exec(ctx, recordOvertakenSQL, pg.Args{
			"births": births, "ids": ids, "states": states, "provider_ids": provider, "sealed": sealed, "sealed_until": until, "epoch": epoch,
		}); err != nil {
			return fmt.Errorf("record results: %w", err)
		}
	}
	return nil
}

const insertProviderRefsSQL = `
INSERT INTO channels.provider_refs (account, provider_id, birth, id, at)
SELECT @account, t.provider_id, t.birth, t.id, @now
FROM unnest(@provider_ids::text[], @births::bigint[], @ids::bigint[]) AS t (provider_id, birth, id)
ON CONFLICT DO NOTHING`

func (store) insertProviderRefs(ctx context.Context, tx pgx.Tx, account string, results []settled, now time.Time) error {
	var (
		provider    []string
		births, ids []int64
	)
	for _, r := range results {
		if r.ProviderID != "" {
			provider, births, ids = append(provider, r.ProviderID), append(births, int64(r.Birth)), append(ids, r.ID)
		}
	}
	if len(provider) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, insertProviderRefsSQL, pg.Args{
		"account": account, "provider_ids": provider, "births": births, "ids": ids, "now": now,
	}); err != nil {
		return fmt.Errorf("record provider ids: %w", err)
	}
	return nil
}

const insertBlocksSQL = `
INSERT INTO channels.blocks (birth, channel, reason, at)
SELECT DISTINCT ON (t.birth) t.birth, @channel, t.reason, @now
FROM unnest(@births::bigint[], @reasons::text[]) AS t (birth, reason)
ORDER BY t.birth
ON CONFLICT ON CONSTRAINT blocks_pkey DO NOTHING`

// insertBlocks remembers addresses that the provider called dead or closed to us.
func (st store) insertBlocks(ctx context.Context, tx pgx.Tx, c Channel, results []settled, now time.Time) error {
	var (
		births  []int64
		reasons []string
	)
	for _, r := range results {
		if r.state == StateFailed && c != ChannelMiniProgram && (r.Reason == ReasonNoAddress || r.Reason == ReasonRefused || r.Reason == ReasonOptOut) {
			births, reasons = append(births, int64(r.address)), append(reasons, string(r.Reason))
		}
	}
	return st.block(ctx, tx, c, births, reasons, now)
}

func (store) block(ctx context.Context, tx pgx.Tx, c Channel, births []int64, reasons []string, now time.Time) error {
	if len(births) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, insertBlocksSQL, pg.Args{"channel": string(c), "births": births, "reasons": reasons, "now": now}); err != nil {
		return fmt.Errorf("block addresses: %w", err)
	}
	return nil
}
