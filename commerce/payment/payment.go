package payment

import (
	"time"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/money"
)

// State is where a payment stands.
//
//	created ─▶ prepared ─▶ paid
//	     ╲        │  ╲────▶ mismatched (another amount came; it goes back)
//	      ╲───────┴─▶ closing ─▶ closed
//
// The provider's word is last: a payment that is closing or closed and is paid nevertheless becomes paid, and its money
// goes back.
type State string

// The states.
const (
	StateCreated    State = "created"  // stands with the order; the provider does not know it
	StatePrepared   State = "prepared" // the member can pay it
	StatePaid       State = "paid"
	StateMismatched State = "mismatched"
	StateClosing    State = "closing" // the order ended; the provider is to refuse it
	StateClosed     State = "closed"
)

// ProviderWeChat is WeChat Pay.
const ProviderWeChat = "wechat"

// Payment is one attempt to have a provider collect a tender of an order.
type Payment struct {
	ID            id.UUID    `json:"id"`
	OrderNo       string     `json:"order_no"`
	TenderNo      int        `json:"tender_no"`
	Provider      string     `json:"provider"`
	Account       string     `json:"account" doc:"merchant account"`
	OutTradeNo    string     `json:"out_trade_no"`
	AmountFen     money.Fen  `json:"amount_fen"`
	ReceivedFen   money.Fen  `json:"received_fen"`
	RefundedFen   money.Fen  `json:"refunded_fen"`
	State         State      `json:"state"`
	PrepayID      string     `json:"-"`
	PreparedAt    *time.Time `json:"-"`
	TransactionID *string    `json:"transaction_id,omitempty"`
	ExpiresAt     time.Time  `json:"expires_at"`
	PaidAt        *time.Time `json:"paid_at,omitempty"`
	CreatedAt     time.Time  `json:"created_at"`
}

// New is the payment of a tender. Its name at the provider is that of the order, with a suffix from the second attempt on.
func New(orderNo string, tenderNo int, account string, amount money.Fen, now, until time.Time) Payment {
	return Payment{
		ID: id.New(), OrderNo: orderNo, TenderNo: tenderNo, Provider: ProviderWeChat, Account: account, OutTradeNo: orderNo,
		AmountFen: amount, State: StateCreated, ExpiresAt: until, CreatedAt: now,
	}
}

// prepayLife is how long a prepay id is used; WeChat Pay forgets it after two hours.
const prepayLife = 100 * time.Minute

// prepared reports whether the provider still knows the prepay id.
func (p Payment) prepared(now time.Time) bool {
	return p.PrepayID != "" && p.PreparedAt != nil && now.Before(p.PreparedAt.Add(prepayLife))
}

// Receipt is what a provider says about a payment that succeeded.
type Receipt struct {
	Provider      string
	Account       string
	OutTradeNo    string
	TransactionID string
	AmountFen     money.Fen
	PaidAt        time.Time
}

// RefundState is where a refund stands.
type RefundState string

// The states of a refund.
const (
	RefundDue    RefundState = "due"   // the provider has to be asked
	RefundAsked  RefundState = "asked" // the provider works on it
	RefundDone   RefundState = "done"
	RefundFailed RefundState = "failed" // the provider refuses; somebody has to look
)

// Refund is money that has to go back.
type Refund struct {
	ID         id.UUID     `json:"id"`
	Payment    id.UUID     `json:"payment"`
	OrderNo    string      `json:"order_no"`
	AmountFen  money.Fen   `json:"amount_fen"`
	Reason     string      `json:"reason"`
	State      RefundState `json:"state"`
	ProviderID string      `json:"provider_id"`
	Attempts   int         `json:"attempts"`
	LastError  string      `json:"last_error"`
	NextAt     time.Time   `json:"next_at"`
	DoneAt     *time.Time  `json:"done_at,omitempty"`
	CreatedAt  time.Time   `json:"created_at"`
}
