// Package channels owns how messages reach members and how answers come back: accounts, the message ledger, the
// handover to providers, receipts, links, and the schema `channels`. What a message says is templates; how a provider is
// spoken to is the package of that protocol (wechat, sms, email …); who plans a message (a journey, an operator, an order)
// does not matter here.
//
//	Plan ──▶ planned ──▶ handed_over ──▶ accepted ──▶ delivered ──▶ read ──▶ clicked
//	            │  ▲          │  │  └─────▶ unknown ─┴── (receipt, or an operator's word)
//	            │  └──retry───┘  └────────▶ failed
//	            └──▶ suppressed, failed
//
// Invariants.
//   - One ledger row per (birth, send key); planning again changes nothing.
//   - A message is marked handed_over, in a committed transaction under the account's fenced lease, before it leaves. What
//     was handed over and has no recorded result belongs to channels.handovers; a successor makes it `unknown` (or, where
//     the provider dedupes by our key, plans it again under the same key). Unknown messages are listed and never sent
//     again by the program itself.
//   - State moves forward only (message.go). A result counts only from the holder of the lease under which the message
//     was handed over: a process that was paused past its lease records nothing.
//   - Consent, quiet hours, caps, pauses and expiry are decided at handover by the pure function Decide over facts read
//     under the lock of the member's row, so revoked consent and caps hold under any concurrency. The journey simulator
//     calls the same function.
//   - Nothing a provider reports is acknowledged before it is stored; applying it twice changes nothing.
//
// Locks at handover: lease row (shared), member rows in ascending order, messages that are planned, grants. Callbacks lock
// messages that have left, then member rows: the two never wait for each other's messages.
//
// Personal data: addresses are opened only on the way to the provider. The member's fields a text was rendered with are
// sealed under the birth's key in messages.sealed for 90 days; together with the immutable template version they give
// back exactly what was sent. Raw callbacks and account secrets are sealed under a key of this schema.
//
// Events out (activity log): message_sent, message_delivered, message_opened, message_clicked, message_failed,
// account_followed, account_unfollowed. message_failed means that the provider refused a message or could not deliver it, with
// the reason. What is held back before the provider is asked (suppressed, or failed for a reason of our own) logs nothing: the
// ledger says why.
package channels
