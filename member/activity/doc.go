// Package activity owns the log of what members do and what happens to them, and the feed by which the rest of the house
// follows it.
//
// # The log
//
// Whatever concerns a member ends in member.activities, from any module, once. Append is idempotent: (source, dedupe key)
// is remembered in member.activity_keys; a replay is a Duplicate and changes nothing, the same key with other content
// replaces the activity (Updated). Each activity hangs on the birth that produced it and has a mode: backfill rows update
// segments and statistics but never set anything in motion. Neither does a replaced activity: its feed row is backfill.
//
// # The feed
//
//	writers ──insert──▶ feed_inbox ──sequencer──▶ feed (shard, seq) ──▶ consumer "segments"  cursor per shard
//	(their own tx)      (unnumbered)  (one lease)                  └──▶ consumer "journeys"  cursor per shard
//
// A sequence number given at insert time would show gaps: a row with a small number may commit after a larger one was
// read. So writers insert without a number, and a leased sequencer numbers what has committed. A number is visible only
// after all smaller ones of its shard. A long transaction delays its own rows and nobody else's. Rows of one member are in
// one shard (that of the root when they are numbered) and keep the order in which their transactions committed, so a
// consumer never takes a member's later fact before an earlier one that was there.
//
// Merge and split move a member to another shard. Who changes a root notes the birth in feed_moves (QueueMoved); the
// sequencer, in the statement that first sees the new root, seals the note with the last numbers given. A consumer takes
// rows of that member behind the seal after it has read all shards up to it; other members do not wait (ADR 24).
//
// Keys that begin with $ are feed rows without an activity: KeyProfile says that attributes, tags, consents or reach of a
// member changed, KeyIdentity that a cluster did. Touch writes them.
//
// # Consumers
//
// Follow hands batches to a handler in one transaction together with the cursor: what the handler writes is committed
// exactly if the cursor moves. The cursor row is locked for the batch, so processes share the shards of a consumer without
// doing a batch twice. A handler that fails is retried with backoff; it sees the same rows again.
//
// # Locks
//
// activity_keys in (source, key hash) order, then births in birth order, then members in id order (only to bring
// first_fact_at forward).
package activity
