// Package points owns loyalty points: programmes, lots, spends, debts and tiers.
//
// A lot is what one grant gave to one birth. It is pending until its active_at, can be spent until its expires_at, and
// each of its points is always in exactly one place (CHECK point_lots_conserved):
//
//	grant ──▶ remaining ──spend──▶ spent ──refund──▶ remaining, or expired if the lot has run out meanwhile
//	              │ ╲──────expire──▶ expired
//	              └──────revoke, settle──▶ revoked
//
// Whether a lot is pending, active or run out is a comparison with the clock and needs no job; Expire only books what has
// run out.
//
// Spend draws over the whole member (all births of the cluster), first expiring first; equal expiries by the time earned,
// then by key, so that the draw is a function of the lots. Refund gives back in the reverse order of the draw: spending
// 100 and refunding 40 leaves the lots as if 60 had been spent.
//
// Debts. Revoke takes back a grant whose reason fell away (a returned order). What is already spent becomes a debt, and
// debts are paid from the member's lots before anything else is spent. No lot and no balance is ever negative.
//
// Merge and split. Lots stay under their birth, so a merge adds nothing up and moves nothing. After a split, points that
// one side spent from lots of the other show as owed and receivable in Balance; Untangle gives them back to the lots and
// makes them debts of the spender: each side then has what its births earned. A later merge nets both out again.
//
// Tiers. A member's growth (points granted less revoked, or fen paid less returned, over all its births in a tier's window)
// puts it into a tier for a period. It goes up at once, and down only when the period is over; a tier reached again then begins
// another period. Rows of member.tiers stay under the birth that was the root when they were decided: a merged member has the
// best of them, and what splits off takes its own along. Members are evaluated in sets, behind the feed (points earned, orders
// paid, merges and splits), when periods end, and all of them daily. tier_changed is backfill when only backfill caused it.
//
// Every move has a key and is done once (point_moves): the same key with another input is ErrKeyReused. Every move is
// posted to the book points.<programme> of internal/ledger, whose accounts always agree with the tables:
//
//	−issued = Σ points − revoked − …    outstanding = Σ remaining    spent = Σ spent − charged debts
//	expired = Σ expired                 −debt = Σ open debts
//
// Check compares them. Locks: member rows (member/cluster), then lots in the order (birth, key), then ledger accounts, all
// of which are hot and lock nothing. Expire skips lots that are locked and takes them in its next run.
//
// Owns member.programmes, point_moves, point_lots, point_allocations, point_debts, tiers. Appends points_earned, points_spent,
// points_expired and tier_changed to the activity log. Handles member.identity.split (Untangle).
package points
