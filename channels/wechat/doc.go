// Package wechat speaks to WeChat: official accounts and mini-programs. It is the only home of silenceper/wechat/v2 and
// closes what that SDK leaves open:
//
//   - Tokens (tokens.go): stable_token; a token that the server rejects is dropped from the cache if it is still the
//     cached one, fetched again by one caller, and the call is repeated once.
//   - Errors (errors.go): every SDK error becomes code, text and request id; nothing of the request's address, which
//     carries the token, survives.
//   - Outcomes (outcome.go): one table from provider code to what the pipeline does. No answer after the request left
//     means unknown, and is never repeated, except for template messages, which WeChat dedupes by client_msg_id.
//   - Callbacks (callback.go, envelope.go, message.go): own receiver. Signature in constant time, msg_signature over the
//     ciphertext, a time window, appid inside the ciphertext, bounded bodies, no document types; handed to the Inbox
//     before the acknowledgement. Repeats are recognised by their dedupe key: the provider's retries and an attacker's
//     replays change nothing.
//   - Logs (sdk.go): the SDK sets logrus to debug on standard output when it is imported; New turns that off.
//
// The SDK keeps its HTTP client in a package variable, so one process has one: New refuses a second, different client.
package wechat
