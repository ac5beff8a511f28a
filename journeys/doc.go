// Package journeys owns what members go through: the published graphs, the runs of members through them, and the figures
// about both; schema `journeys`.
//
//	document ──Validate──▶ version (immutable) ──Compile──▶ book
//	                                                         │
//	feed rows ─┐                                             ▼
//	timers ────┼─▶ person: runs + facts ──play──▶ Step (pure) ──▶ states · effects · figures   one transaction
//	schedules ─┤                 ▲                  │ asks
//	API ───────┘                 └──── Rules.Evaluate, in sets
//
// # Invariants
//
//   - A run is moved by Step and nothing else; Step is a pure function of version, run, facts and time. The simulator calls
//     the same play on the times of the log.
//   - The time of a step is the time of its cause (the fact, the timer, the occurrence), in whole seconds, not the time at
//     which the engine came to it. A member's facts and timers are taken in the order of their times, whatever the batch;
//     times are rounded up, so within a second facts come first, then timers, then scheduled entries.
//     A timer that is later than max_lateness counts from now instead.
//   - Where a fact can change what a timer does (awaited events, exit criteria, goals that exit), the timer waits for facts
//     of its member that have been committed but not handled, and 300 ms for those under way (timers.go, ADR 24).
//   - A run belongs to the birth that entered and stays pinned to its version unless a publish moves it. Its id comes from
//     the journey and the entry key, so the same cause begins one run. Effects carry keys from (run, node, visit): the
//     same effect has the same key whoever computes it and how often.
//   - Re-entry and its maximum count over all births of a member. On a merge the earliest run goes on, the others are
//     absorbed and what they did is marked in it; after a split an absorbed run is reopened, with what the survivor did
//     marked. Marked nodes are walked through without their effect.
//   - Backfilled facts, and live ones later than max_lateness, start nothing and wake nothing. They do end runs (exit
//     criteria) and reach goals.
//   - States, effects and figures of a batch commit together or not at all.
//
// # Tables
//
// journeys (drafts), versions, control (generation, stop switch), runs (by birth, 4 partitions), node_deltas and node_stats
// (figures), occurrences (scheduled entries), webhooks, tasks.
//
// # Locks, in this order
//
// the lease of the slice or schedule (FOR SHARE); advisory lock (4740, journey) around entries into a journey that limits
// re-entry; runs in the order (birth, id), except that timers claim with SKIP LOCKED; then whatever the adapters of
// Outside lock.
//
// # Events
//
// In: the activity feed as consumer "journeys" (triggers, awaited events, exit criteria, goals, $identity). Out: nothing of
// its own; messages, grants and tags announce themselves.
//
// # Failures
//
// A panic or an error in one run takes its walk back and tries again after 1, 4, 16 and 64 minutes; then the run is
// quarantined and shown by Status. An adapter that refuses a batch makes the engine halve it until the member at fault is
// alone. A feed that has not moved for a minute, or has been slow for ten, does not hold timers back any longer: they go on
// with a warning in the log, and facts that are read later find the run gone on. Lost leases and conflicts drop the transaction. Webhooks are delivered after the commit, at least once, in
// up to eight attempts over some days; they are signed (Signature), follow no redirect, and reach private addresses only where
// the installation allows it.
package journeys
