// Package tracking is how other systems report people and what they do: the HTTP tracking API that speaks the Segment
// spec, and the import kinds "members" and "events". It owns member.tracking_messages.
//
// # API
//
// POST /v1/identify, track, page, screen, alias and batch (and group, which is accepted and ignored) take what the Segment
// SDKs send: basic auth with a write key as user name, JSON bodies whatever their content type, gzip, 32 KB a call and
// 500 KB a batch, and answer 200 {"success":true} after the commit, never before. What is wrong with a call is a 400
// problem that names the field, and nothing of the request is stored.
//
// userId, anonymousId and context.externalIds become identity keys; traits become attributes, the name and the reachable
// identifiers are kept encrypted. A client's clock is corrected by sentAt; a fact keeps its own time, however late.
//
// # Idempotency
//
// A messageId counts once per source. Tracked facts are remembered by the activity log (FirstStands), the others in
// tracking_messages for 30 days. Without a messageId, the message is named by the hash of its content.
//
// # Throughput
//
// Requests of all connections are combined into transactions of up to some thousand facts (Writer): a request joins the next
// commit and is answered by it. A transaction that fails is tried again request by request, so that one cannot spoil the
// others. Identity keys that were resolved a moment ago are not resolved again (resolved.go).
//
// Locks: tracking_messages in order of (source, message), then those of identity.Observe, then those of activity.Append.
package tracking
