package channels

import (
	"context"
	"log/slog"
	"time"

	"github.com/lianke/lianke/internal/id"
)

// This file is the border between the send pipeline (this package) and the protocols (wechat, sms, email …). The
// pipeline decides who gets what and when, and owns every row; a protocol package only speaks to its provider.

// Channel is a provider family for messages.
type Channel string

// The channels, as consent, reach and rules name them.
const (
	ChannelWeChat      Channel = "wechat"      // official account: template message
	ChannelMiniProgram Channel = "miniprogram" // subscribe message, one grant each
	ChannelSMS         Channel = "sms"
	ChannelEmail       Channel = "email"
	ChannelPush        Channel = "push"
	ChannelWeCom       Channel = "wecom"
)

// Sender hands messages to one account of one provider. Implementations are safe for concurrent use.
type Sender interface {
	// Send hands over a batch and returns one result for each message, in the same order. It never retries a message
	// whose outcome it does not know, and at most once a message that the provider refused unread (a dead token).
	// When ctx ends, messages not yet written come back as retry and those in flight as unknown.
	Send(ctx context.Context, batch []Outgoing) []Result
}

// Outgoing is one message, ready to leave.
type Outgoing struct {
	MessageID id.UUID
	SendKey   string  // the same for every attempt; handed to providers that can dedupe or echo it
	To        string  // openid, phone number or mail address; personal data
	Content   Content // what the renderer made of the template
	Vars      map[string]any
}

// LogValue keeps the recipient and the text out of logs.
func (o Outgoing) LogValue() slog.Value {
	return slog.GroupValue(slog.String("message", o.MessageID.String()), slog.String("send_key", o.SendKey))
}

// Content is a rendered message. Each channel reads the fields it has: see the package of the protocol.
type Content struct {
	Template    string            // the provider's own template: template_id (WeChat), TemplateCode (SMS)
	Fields      map[string]string // values for the slots of that template
	URL         string            // where a tap leads: H5 page
	Page        string            // where a tap leads: mini-program page with its query
	Sign        string            // SMS signature without brackets; empty means the account's own
	Text        string            // SMS as the member reads it; plain-text part of a mail
	Subject     string            // mail
	HTML        string            // mail
	Headers     map[string]string // mail, additional
	Unsubscribe string            // mail: https address that honours a one-click POST (RFC 8058)
	Marketing   bool              // carries the duties of marketing: unsubscribe header, 拒收请回复R
}

// Outcome is what became of an attempt.
type Outcome string

// The outcomes.
const (
	// OutcomeAccepted means the provider has the message. A receipt may follow.
	OutcomeAccepted Outcome = "accepted"
	// OutcomeRejected means the provider refused it and would refuse it again.
	OutcomeRejected Outcome = "rejected"
	// OutcomeRetry means the provider certainly does not have it and may take it after RetryAfter.
	OutcomeRetry Outcome = "retry"
	// OutcomeUnknown means the request left and no answer came back: never sent again without reconciliation.
	OutcomeUnknown Outcome = "unknown"
)

// Reason says in our words why an attempt was not accepted, whatever the provider calls it.
type Reason string

// The reasons.
const (
	ReasonBusy       Reason = "busy"       // the provider is overloaded or answered 5xx
	ReasonThrottled  Reason = "throttled"  // too fast for this account; holds for the whole account
	ReasonQuota      Reason = "quota"      // the account's quota is used up; holds for the whole account
	ReasonRecipient  Reason = "recipient"  // limit on this recipient, may pass later
	ReasonNoAddress  Reason = "no_address" // the address does not exist: stop using it
	ReasonRefused    Reason = "refused"    // the member blocked us or has no grant left
	ReasonContent    Reason = "content"    // the message breaks the provider's rules
	ReasonTemplate   Reason = "template"   // the template or signature is unknown or not approved
	ReasonCredential Reason = "credential" // the account's credentials are wrong; holds for the whole account
	ReasonAccount    Reason = "account"    // the account may not do this or has no balance; holds for the whole account
	ReasonNetwork    Reason = "network"    // no connection, or it broke
	ReasonTimeout    Reason = "timeout"    // no answer in time
	ReasonUnreadable Reason = "unreadable" // an answer nobody understands
	ReasonInput      Reason = "input"      // we built a message that cannot be sent
	ReasonCanceled   Reason = "canceled"   // we are shutting down
	ReasonUnmapped   Reason = "unmapped"   // a code that is not in our tables; treated as rejected
	ReasonWindow     Reason = "window"     // outside the customer-service window
	ReasonOptOut     Reason = "opt_out"    // the member is on the provider's own opt-out list
	ReasonReputation Reason = "reputation" // refused as spam or by policy
	ReasonMailbox    Reason = "mailbox"    // mailbox full or switched off for now
)

// AccountWide tells whether the reason concerns every message of the account, so that its lane should wait.
func (r Reason) AccountWide() bool {
	switch r {
	case ReasonThrottled, ReasonQuota, ReasonCredential, ReasonAccount:
		return true
	default:
		return false
	}
}

// Result is the outcome of one attempt.
type Result struct {
	Outcome    Outcome
	Reason     Reason        // empty when accepted
	ProviderID string        // the provider's id of the message: msgid, BizId, Message-ID
	Code       string        // the provider's code, verbatim ("43101", "isv.DAY_LIMIT_CONTROL", "550 5.1.1")
	Text       string        // the provider's text, shortened; holds no personal data
	RetryAfter time.Duration // for retry: earliest moment, counted from now
}

// ReceiptKind is what a provider or a reader reports about a message after it was accepted.
type ReceiptKind string

// The kinds of receipt.
const (
	ReceiptDelivered    ReceiptKind = "delivered"
	ReceiptRead         ReceiptKind = "read"
	ReceiptClicked      ReceiptKind = "clicked"
	ReceiptFailed       ReceiptKind = "failed"  // not delivered
	ReceiptBounced      ReceiptKind = "bounced" // mail came back: Permanent says whether the address is dead
	ReceiptUnsubscribed ReceiptKind = "unsubscribed"
	ReceiptComplained   ReceiptKind = "complained"
)

// Receipt is a report about one message. It names the message by ProviderID, SendKey or both.
type Receipt struct {
	Account    string
	ProviderID string
	SendKey    string
	Kind       ReceiptKind
	Reason     Reason // for failed and bounced
	Permanent  bool   // for failed and bounced: the address will not work again
	Code       string
	At         time.Time
}

// Key is an identifier of a person: namespace, scope and value as in the identity graph.
type Key struct{ NS, Scope, Value string }

// LogValue keeps the value out of logs.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.NS + "/" + k.Scope + "/…") }

// InboundKind is what a person did towards an account.
type InboundKind string

// The kinds of inbound event.
const (
	InboundFollow         InboundKind = "follow"          // Value: the scene of the QR code, if any
	InboundUnfollow       InboundKind = "unfollow"        //
	InboundMenuClick      InboundKind = "menu_click"      // Value: the key of the menu entry
	InboundMenuView       InboundKind = "menu_view"       // Value: the address of the menu entry
	InboundText           InboundKind = "text"            // Value: what they wrote
	InboundMedia          InboundKind = "media"           // Value: the provider's media id
	InboundScan           InboundKind = "scan"            // Value: the scene of the QR code
	InboundSubscribeGrant InboundKind = "subscribe_grant" // Value: template id; one message may be sent
	InboundSubscribeDeny  InboundKind = "subscribe_deny"  // Value: template id
	InboundOptOut         InboundKind = "opt_out"         // Value: what they wrote, or the list header's token
	InboundLogin          InboundKind = "login"           // mini-program session: Also may hold the unionid
)

// Inbound is one thing a person did. DedupeKey is stable under the provider's retries and unique per account.
type Inbound struct {
	Account   string
	From      Key
	Also      []Key // further identifiers the provider vouches for, such as the unionid
	Kind      InboundKind
	Value     string
	At        time.Time
	DedupeKey string
}

// LogValue keeps person and content out of logs.
func (i Inbound) LogValue() slog.Value {
	return slog.GroupValue(slog.String("account", i.Account), slog.String("kind", string(i.Kind)), slog.Time("at", i.At))
}

// Inbox takes what providers report. Both methods return only when the items are durable: the callback is
// acknowledged after that, and provider retries bring the same items again, which must change nothing.
type Inbox interface {
	Receipts(ctx context.Context, receipts []Receipt) error
	Inbound(ctx context.Context, items []Inbound) error
}
