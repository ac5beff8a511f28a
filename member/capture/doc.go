// Package capture is the one door through which touchpoints report people: imports, the tracking API, channel callbacks,
// checkout. One call takes a batch of persons and, in the caller's transaction, observes their identifiers
// (member/identity), keeps attributes, tags, consent and personal data under the birth of the first key, logs
// `member_registered` once per source record, and derives and announces the members that changed.
//
// It owns no tables. Round trips do not depend on the size of the batch; 500 to 1,000 persons a call is best. Call it
// once per transaction and before any member lock (see identity's lock order). An unusable person comes back with Err
// set and leaves no trace; the others are not affected. Replays change nothing but the newest-wins fields.
package capture
