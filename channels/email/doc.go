// Package email sends mail by SMTP and reads what comes back.
//
//   - Messages are composed by wneessen/go-mail, which also dials, negotiates TLS and authenticates. Envelopes are
//     pipelined (RFC 2920): the content of one message and the envelope of the next leave in one write, so that a
//     connection pays one round trip for a message. Connections are pooled per account.
//   - A message whose content was not yet on the wire is safe to try again, and is, once, on a fresh connection. One whose
//     final answer is missing is unknown.
//   - Marketing mail carries List-Unsubscribe and List-Unsubscribe-Post (RFC 8058); with a key everything is signed by
//     DKIM, both headers included.
//   - The envelope sender names the message (bounce+KEY.MAC@domain), so that every bounce finds its message even if it
//     quotes nothing. receive.go is the SMTP server for those addresses: delivery status notifications (RFC 3464), abuse
//     reports (RFC 5965) and unsubscribe mails become receipts, durable before 250.
package email
