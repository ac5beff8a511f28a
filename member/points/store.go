package points

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

const seenMovesSQL = `
SELECT key, hash
FROM member.point_moves
WHERE key = ANY(@keys)`

func seenMoves(ctx context.Context, tx pgx.Tx, moves []move) (map[id.UUID][]byte, error) {
	keys := make([]id.UUID, len(moves))
	for i, m := range moves {
		keys[i] = m.Key
	}
	rows, err := tx.Query(ctx, seenMovesSQL, pg.Args{"keys": keys})
	if err != nil {
		return nil, fmt.Errorf("read moves: %w", err)
	}
	seen := map[id.UUID][]byte{}
	var key id.UUID
	var hash []byte
	if _, err := pgx.ForEachRow(rows, []any{&key, &hash}, func() error {
		seen[key] = slices.Clone(hash)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read moves: %w", err)
	}
	return seen, nil
}

const moveColumns = `key, hash, kind, birth, programme, points, at, of, reason`

const moveSQL = `
SELECT ` + moveColumns + `
FROM member.point_moves
WHERE key = @key AND kind = @kind`

func loadMove(ctx context.Context, tx pgx.Tx, key id.UUID, kind string) (move, error) {
	rows, err := tx.Query(ctx, moveSQL, pg.Args{"key": key, "kind": kind})
	if err != nil {
		return move{}, fmt.Errorf("read move: %w", err)
	}
	m, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[move])
	if pg.NoRows(err) {
		return move{}, ErrNoMove.With("key", key)
	}
	if err != nil {
		return move{}, fmt.Errorf("read move: %w", err)
	}
	return m, nil
}

const sumOfSQL = `
SELECT coalesce(sum(points), 0)::bigint
FROM member.point_moves
WHERE of = @of AND kind = @kind`

// sumOf adds the points of the moves of that kind that refer to the given one.
func sumOf(ctx context.Context, tx pgx.Tx, of id.UUID, kind string) (n int64, err error) {
	if err := tx.QueryRow(ctx, sumOfSQL, pg.Args{"of": of, "kind": kind}).Scan(&n); err != nil {
		return 0, fmt.Errorf("sum moves: %w", err)
	}
	return n, nil
}

const insertMovesSQL = `
INSERT INTO member.point_moves (key, hash, kind, birth, programme, points, at, of, reason)
SELECT *
FROM unnest(@keys::uuid[], @hashes::bytea[], @kinds::text[], @births::bigint[], @programmes::text[], @points::bigint[],
            @ats::timestamptz[], @ofs::uuid[], @reasons::text[]) AS m (key, hash, kind, birth, programme, points, at, of, reason)
ORDER BY key
ON CONFLICT ON CONSTRAINT point_moves_pkey DO NOTHING`

func queueMoves(b *pgx.Batch, moves []move) *pgx.QueuedQuery {
	n := len(moves)
	keys, hashes, kinds, births := make([]id.UUID, n), make([][]byte, n), make([]string, n), make([]member.Birth, n)
	programmes, points, ats := make([]string, n), make([]int64, n), make([]time.Time, n)
	ofs, reasons := make([]*id.UUID, n), make([]string, n)
	for i, m := range moves {
		keys[i], hashes[i], kinds[i], births[i] = m.Key, m.Hash, m.Kind, m.Birth
		programmes[i], points[i], ats[i], ofs[i], reasons[i] = m.Programme, m.Points, m.At, m.Of, m.Reason
	}
	return b.Queue(insertMovesSQL, pg.Args{
		"keys": keys, "hashes": hashes, "kinds": kinds, "births": births, "programmes": programmes,
		"points": points, "ats": ats, "ofs": ofs, "reasons": reasons,
	})
}

const lotColumns = `birth, key, programme, points, remaining, spent, expired, revoked, earned_at, active_at, expires_at`

const insertLotsSQL = `
INSERT INTO member.point_lots (birth, key, programme, points, remaining, earned_at, active_at, expires_at)
SELECT birth, key, programme, points, points, earned_at, active_at, expires_at
FROM unnest(@births::bigint[], @keys::uuid[], @programmes::text[], @points::bigint[], @earned::timestamptz[],
            @active::timestamptz[], @expires::timestamptz[]) AS l (birth, key, programme, points, earned_at, active_at, expires_at)`

func queueLots(b *pgx.Batch, lots []Lot) {
	n := len(lots)
	if n == 0 {
		return
	}
	births, keys, programmes, points := make([]member.Birth, n), make([]id.UUID, n), make([]string, n), make([]int64, n)
	earned, active, expires := make([]time.Time, n), make([]time.Time, n), make([]*time.Time, n)
	for i, l := range lots {
		births[i], keys[i], programmes[i], points[i] = l.Birth, l.Key, l.Programme, l.Points
		earned[i], active[i], expires[i] = l.EarnedAt, l.ActiveAt, l.ExpiresAt
	}
	b.Queue(insertLotsSQL, pg.Args{
		"births": births, "keys": keys, "programmes": programmes, "points": points, "earned": earned, "active": active, "expires": expires,
	})
}

// The rows are locked by whoever read them.
const changeLotsSQL = `
UPDATE member.point_lots l
SET remaining = l.remaining + c.remaining, spent = l.spent + c.spent, expired = l.expired + c.expired,
    revoked = l.revoked + c.revoked, expires_at = coalesce(c.expires_at, l.expires_at)
FROM unnest(@births::bigint[], @keys::uuid[], @remaining::bigint[], @spent::bigint[], @expired::bigint[], @revoked::bigint[],
            @expires::timestamptz[]) AS c (birth, key, remaining, spent, expired, revoked, expires_at)
WHERE l.birth = c.birth AND l.key = c.key`

func queueLotChanges(b *pgx.Batch, changes map[lotKey]*lotChange) {
	if len(changes) == 0 {
		return
	}
	var births []member.Birth
	var keys []id.UUID
	var remaining, spent, expired, revoked []int64
	var expires []*time.Time
	for k, c := range changes {
		births, keys = append(births, k.birth), append(keys, k.key)
		remaining, spent = append(remaining, c.remaining), append(spent, c.spent)
		expired, revoked, expires = append(expired, c.expired), append(revoked, c.revoked), append(expires, c.expiresAt)
	}
	b.Queue(changeLotsSQL, pg.Args{
		"births": births, "keys": keys, "remaining": remaining, "spent": spent, "expired": expired, "revoked": revoked, "expires": expires,
	})
}

// Locks the lots, because Expire takes no member lock.
const openLotsSQL = `
SELECT ` + lotColumns + `
FROM member.point_lots
WHERE birth = ANY(@births) AND programme = @programme AND remaining > 0
ORDER BY birth, key
FOR NO KEY UPDATE`

func openLots(ctx context.Context, tx pgx.Tx, births []member.Birth, programme string) ([]Lot, error) {
	rows, err := tx.Query(ctx, openLotsSQL, pg.Args{"births": births, "programme": programme})
	if err != nil {
		return nil, fmt.Errorf("read lots: %w", err)
	}
	lots, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Lot])
	if err != nil {
		return nil, fmt.Errorf("read lots: %w", err)
	}
	return lots, nil
}

const lotsOfSQL = `
SELECT ` + lotColumns + `
FROM member.point_lots
WHERE (birth, key) IN (SELECT * FROM unnest(@births::bigint[], @keys::uuid[]))
ORDER BY birth, key
FOR NO KEY UPDATE`

// lotsOf locks and reads the lots of the allocations.
func lotsOf(ctx context.Context, tx pgx.Tx, of []allocation) (map[lotKey]Lot, error) {
	births, keys := make([]member.Birth, len(of)), make([]id.UUID, len(of))
	for i, a := range of {
		births[i], keys[i] = a.Birth, a.Lot
	}
	rows, err := tx.Query(ctx, lotsOfSQL, pg.Args{"births": births, "keys": keys})
	if err != nil {
		return nil, fmt.Errorf("read lots: %w", err)
	}
	lots, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Lot])
	if err != nil {
		return nil, fmt.Errorf("read lots: %w", err)
	}
	out := make(map[lotKey]Lot, len(lots))
	for _, l := range lots {
		out[lotKey{l.Birth, l.Key}] = l
	}
	return out, nil
}

const insertAllocationsSQL = `
INSERT INTO member.point_allocations (birth, lot, spend, n, purpose, programme, spender, points)
SELECT *
FROM unnest(@births::bigint[], @lots::uuid[], @spends::uuid[], @ns::integer[], @purposes::text[], @programmes::text[],
            @spenders::bigint[], @points::bigint[])`

func queueAllocations(b *pgx.Batch, as []allocation) {
	n := len(as)
	if n == 0 {
		return
	}
	births, lots, spends, ns := make([]member.Birth, n), make([]id.UUID, n), make([]id.UUID, n), make([]int, n)
	purposes, programmes, spenders, points := make([]string, n), make([]string, n), make([]member.Birth, n), make([]int64, n)
	for i, a := range as {
		births[i], lots[i], spends[i], ns[i] = a.Birth, a.Lot, a.Spend, a.N
		purposes[i], programmes[i], spenders[i], points[i] = a.Purpose, a.Programme, a.Spender, a.Points
	}
	b.Queue(insertAllocationsSQL, pg.Args{
		"births": births, "lots": lots, "spends": spends, "ns": ns,
		"purposes": purposes, "programmes": programmes, "spenders": spenders, "points": points,
	})
}

const changeAllocationsSQL = `
UPDATE member.point_allocations a
SET refunded = a.refunded + c.refunded, charged = a.charged + c.charged
FROM unnest(@births::bigint[], @lots::uuid[], @spends::uuid[], @ns::integer[], @refunded::bigint[], @charged::bigint[])
     AS c (birth, lot, spend, n, refunded, charged)
WHERE a.birth = c.birth AND a.lot = c.lot AND a.spend = c.spend AND a.n = c.n`

func queueAllocationChanges(b *pgx.Batch, refunded, charged map[allocationKey]int64) {
	var births []member.Birth
	var lots, spends []id.UUID
	var ns []int
	var back, owed []int64
	add := func(k allocationKey, r, c int64) {
		births, lots, spends, ns = append(births, k.birth), append(lots, k.key), append(spends, k.spend), append(ns, k.n)
		back, owed = append(back, r), append(owed, c)
	}
	for k, r := range refunded {
		add(k, r, charged[k])
	}
	for k, c := range charged {
		if _, done := refunded[k]; !done {
			add(k, 0, c)
		}
	}
	if len(births) == 0 {
		return
	}
	b.Queue(changeAllocationsSQL, pg.Args{"births": births, "lots": lots, "spends": spends, "ns": ns, "refunded": back, "charged": owed})
}

const allocationColumns = `a.birth, a.lot, a.points, a.spend, a.n, a.purpose, a.programme, a.spender, a.refunded, a.charged`

const allocationsOfSQL = `
SELECT ` + allocationColumns + `
FROM member.point_allocations a
WHERE spend = ANY(@spends)
ORDER BY spend, n`

func allocationsOf(ctx context.Context, tx pgx.Tx, spends []id.UUID) ([]allocation, error) {
	rows, err := tx.Query(ctx, allocationsOfSQL, pg.Args{"spends": spends})
	if err != nil {
		return nil, fmt.Errorf("read allocations: %w", err)
	}
	return collectAllocations(rows)
}

func collectAllocations(rows pgx.Rows) ([]allocation, error) {
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a allocation, err error) {
		err = row.Scan(&a.Birth, &a.Lot, &a.Points, &a.Spend, &a.N, &a.Purpose, &a.Programme, &a.Spender, &a.Refunded, &a.Charged)
		return a, err
	})
	if err != nil {
		return nil, fmt.Errorf("read allocations: %w", err)
	}
	return all, nil
}

func drawsOf(ctx context.Context, tx pgx.Tx, spend id.UUID) ([]Draw, error) {
	all, err := allocationsOf(ctx, tx, []id.UUID{spend})
	draws := make([]Draw, len(all))
	for i, a := range all {
		draws[i] = a.Draw
	}
	return draws, err
}

// Allocations whose spender and lot belong to different members now, where one of the two is among the births.
const foreignSQL = `
SELECT ` + allocationColumns + `
FROM member.point_allocations a
JOIN member.births s ON s.birth = a.spender
JOIN member.births l ON l.birth = a.birth
WHERE (a.spender = ANY(@births) OR a.birth = ANY(@births))
  AND a.spender <> a.birth AND s.root <> l.root AND a.points > a.refunded + a.charged
ORDER BY a.spend, a.n`

func foreign(ctx context.Context, tx pgx.Tx, births []member.Birth) ([]allocation, error) {
	rows, err := tx.Query(ctx, foreignSQL, pg.Args{"births": births})
	if err != nil {
		return nil, fmt.Errorf("read allocations: %w", err)
	}
	return collectAllocations(rows)
}

const owedBySQL = `
SELECT coalesce(sum(points - refunded - charged), 0)::bigint
FROM member.point_allocations
WHERE spender = ANY(@births) AND spender <> birth AND birth <> ALL(@births) AND programme = @programme`

// owedBy adds up what the member spent from lots that a split gave to others and that is not yet a debt.
func owedBy(ctx context.Context, tx pgx.Tx, births []member.Birth, programme string) (n int64, err error) {
	if err := tx.QueryRow(ctx, owedBySQL, pg.Args{"births": births, "programme": programme}).Scan(&n); err != nil {
		return 0, fmt.Errorf("read owed points: %w", err)
	}
	return n, nil
}

const debtColumns = `d.birth, d.key, d.programme, d.points, d.settled, d.cancelled,
    (SELECT count(*) FROM member.point_allocations a WHERE a.spend = d.key), d.at`

const openDebtsSQL = `
SELECT ` + debtColumns + `
FROM member.point_debts d
WHERE birth = ANY(@births) AND programme = @programme AND settled + cancelled < points
ORDER BY at, birth, key
FOR NO KEY UPDATE`

func openDebts(ctx context.Context, tx pgx.Tx, births []member.Birth, programme string) ([]debt, error) {
	rows, err := tx.Query(ctx, openDebtsSQL, pg.Args{"births": births, "programme": programme})
	if err != nil {
		return nil, fmt.Errorf("read debts: %w", err)
	}
	debts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[debt])
	if err != nil {
		return nil, fmt.Errorf("read debts: %w", err)
	}
	return debts, nil
}

const debtsByKeySQL = `
SELECT ` + debtColumns + `
FROM member.point_debts d
WHERE key = ANY(@keys) AND birth = ANY(@births)`

const debtBirthsSQL = `
SELECT coalesce(array_agg(DISTINCT birth), '{}')
FROM member.point_moves
WHERE key = ANY(@keys)`

func debtsByKey(ctx context.Context, tx pgx.Tx, keys []id.UUID) (map[id.UUID]debt, error) {
	var births []member.Birth
	if err := tx.QueryRow(ctx, debtBirthsSQL, pg.Args{"keys": keys}).Scan(&births); err != nil {
		return nil, fmt.Errorf("read debts: %w", err)
	}
	rows, err := tx.Query(ctx, debtsByKeySQL, pg.Args{"keys": keys, "births": births})
	if err != nil {
		return nil, fmt.Errorf("read debts: %w", err)
	}
	debts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[debt])
	if err != nil {
		return nil, fmt.Errorf("read debts: %w", err)
	}
	out := make(map[id.UUID]debt, len(debts))
	for _, d := range debts {
		out[d.Key] = d
	}
	return out, nil
}

const insertDebtsSQL = `
INSERT INTO member.point_debts (birth, key, programme, points, at)
SELECT *
FROM unnest(@births::bigint[], @keys::uuid[], @programmes::text[], @points::bigint[], @ats::timestamptz[])`

func queueDebts(b *pgx.Batch, debts []debt) {
	n := len(debts)
	if n == 0 {
		return
	}
	births, keys, programmes, points, ats := make([]member.Birth, n), make([]id.UUID, n), make([]string, n), make([]int64, n), make([]time.Time, n)
	for i, d := range debts {
		births[i], keys[i], programmes[i], points[i], ats[i] = d.Birth, d.Key, d.Programme, d.Points, d.At
	}
	b.Queue(insertDebtsSQL, pg.Args{"births": births, "keys": keys, "programmes": programmes, "points": points, "ats": ats})
}

const changeDebtsSQL = `
UPDATE member.point_debts d
SET settled = d.settled + c.settled, cancelled = d.cancelled + c.cancelled
FROM unnest(@births::bigint[], @keys::uuid[], @settled::bigint[], @cancelled::bigint[]) AS c (birth, key, settled, cancelled)
WHERE d.birth = c.birth AND d.key = c.key`

func queueDebtChanges(b *pgx.Batch, settled, cancelled map[lotKey]int64) {
	var births []member.Birth
	var keys []id.UUID
	var paid, gone []int64
	add := func(k lotKey, s, c int64) {
		births, keys, paid, gone = append(births, k.birth), append(keys, k.key), append(paid, s), append(gone, c)
	}
	for k, s := range settled {
		add(k, s, cancelled[k])
	}
	for k, c := range cancelled {
		if _, done := settled[k]; !done {
			add(k, 0, c)
		}
	}
	if len(births) == 0 {
		return
	}
	b.Queue(changeDebtsSQL, pg.Args{"births": births, "keys": keys, "settled": paid, "cancelled": gone})
}
