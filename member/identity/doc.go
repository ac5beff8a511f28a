// Package identity decides who is one person. It owns member.identifiers, births, evidence, evidence_events,
// cluster_history and suppressed, and derives member.members and member.reach.
//
// Evidence is stored, people are derived. An observation says that identifiers (openid, phone, card, a source system's
// record …) were seen together. Each identifier has a birth, a number given once; facts hang on births and never move.
// Partition is the pure function from evidence to clusters; a cluster's root, its smallest birth, is the id of the
// member. The function sees all evidence of a component, and where evidence is equal in trust and time a hash of the
// identifiers decides (births.tie), so who is one person does not depend on the order of arrival; which birth of a person
// is the smallest, and so the member's id, does. Revoking evidence undoes exactly what it did.
//
//	identifier ──birth──┐ evidence  ┌──birth── identifier
//	                    └─────┬─────┘
//	raw component: all that evidence connects ──Partition──▶ clusters: members and visitors
//
// # Locks
//
// Observe runs in a fixed order; each step locks in ascending key order, so two calls wait for each other and never in a
// circle:
//
//  1. evidence_events by hash: a concurrent replay waits, then knows that it is one
//  2. identifiers by key: concurrent inserters of one new key agree on its birth
//  3. raw components, by the identifiers row of their smallest birth, which never moves; births are read again after the
//     lock, and if one has come into a component that is not locked, the locks are dropped (savepoint) and taken again: a
//     further component is never locked while others are held
//  4. births that move, then members (old and new roots), then the rows derived from them
//
// # What is not read
//
// A component in which no limit, denial or hot identifier can stand in the way is joined without reading its evidence
// (change.simple), and the rows of a cluster that only new births joined are written from those (derive.go). Both equal
// the long way, Partition of all evidence and Refresh; TestMembersAreWhatRefreshDerives in package capture holds them to it.
//
// Member-scoped changes elsewhere (points, coupons, enrolment) call cluster.Lock, which takes only the members' rows. Call
// Observe once per transaction and before cluster.Lock; a violation costs a deadlock retry, not correctness.
//
// # Epochs
//
// A phone number is sold again about 90 days after its owner gave it up. An observation of kind reissued, or a one-time
// code proved for another account of a system in which an account had proved it before, opens a new epoch: a new birth
// for the same number from that instant on. Observations are assigned by their own time, so late orders find the old owner.
// What was observed before the epoch opened stays where it was assigned, even if it happened later than the opening.
//
// # Events and failures
//
// Out: activity.KeyIdentity in the feed for every root involved; domain events member.identity.merged and
// member.identity.split for what operators do. In: none. Any failure rolls back the caller's transaction; what a
// concurrent change invalidated ends in pg.ErrRetry and runs again.
package identity
