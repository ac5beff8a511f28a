package payment

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/money"
)

// Merchant is one merchant account of WeChat Pay, as LIANKE_WECHATPAY_FILE holds it: a JSON array of these.
type Merchant struct {
	Account     string `json:"account" doc:"our name for it, as selling terms use it"`
	MchID       string `json:"mchid"`
	AppID       string `json:"appid"`
	Serial      string `json:"serial" doc:"serial number of the merchant's certificate"`
	PrivateKey  string `json:"private_key" doc:"PEM, PKCS #8"`
	APIv3Key    string `json:"apiv3_key" doc:"32 characters"`
	PlatformID  string `json:"platform_id" doc:"serial number of the platform's certificate, or id of its public key"`
	PlatformKey string `json:"platform_key" doc:"PEM, public key or certificate"`
	BaseURL     string `json:"base_url" doc:"https://api.mch.weixin.qq.com if empty"`
	NotifyURL   string `json:"notify_url" doc:"our address for callbacks, without the account"`
}

type merchant struct {
	Merchant
	key      *rsa.PrivateKey
	platform *rsa.PublicKey
}

// WeChatPay speaks to WeChat Pay v3 for the configured merchants.
type WeChatPay struct {
	client    *http.Client
	clock     clock.Clock
	merchants map[string]*merchant
}

const defaultBaseURL = "https://api.mch.weixin.qq.com"

// NewWeChatPay reads the keys of the merchants. client carries the calls; it may lead to stand-ins.
func NewWeChatPay(client *http.Client, clk clock.Clock, list []Merchant) (*WeChatPay, error) {
	w := &WeChatPay{client: client, clock: clk, merchants: map[string]*merchant{}}
	for _, m := range list {
		if m.Account == "" || m.MchID == "" || m.Serial == "" || len(m.APIv3Key) != 32 || w.merchants[m.Account] != nil {
			return nil, fmt.Errorf("wechat pay merchant %q: account, mchid, serial and an apiv3_key of 32 characters are needed, once per account", m.Account)
		}
		if m.BaseURL == "" {
			m.BaseURL = defaultBaseURL
		}
		key, err := privateKey(m.PrivateKey)
		if err != nil {
			return nil, fmt.Errorf("wechat pay merchant %s: private_key: %w", m.Account, err)
		}
		platform, err := publicKey(m.PlatformKey)
		if err != nil {
			return nil, fmt.Errorf("wechat pay merchant %s: platform_key: %w", m.Account, err)
		}
		w.merchants[m.Account] = &merchant{m, key, platform}
	}
	return w, nil
}

func privateKey(text string) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an RSA key")
	}
	return key, nil
}

func publicKey(text string) (*rsa.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	var parsed any
	if block.Type == "CERTIFICATE" {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		parsed = cert.PublicKey
	} else {
		var err error
		if parsed, err = x509.ParsePKIXPublicKey(block.Bytes); err != nil {
			return nil, err
		}
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("not an RSA key")
	}
	return key, nil
}

func (w *WeChatPay) merchant(account string) (*merchant, error) {
	m, ok := w.merchants[account]
	if !ok {
		return nil, ErrNoMerchant.With("account", account)
	}
	return m, nil
}

// Invocation is what the member's device passes to wx.requestPayment.
type Invocation struct {
	AppID     string `json:"appId"`
	TimeStamp string `json:"timeStamp"`
	NonceStr  string `json:"nonceStr"`
	Package   string `json:"package"`
	SignType  string `json:"signType"`
	PaySign   string `json:"paySign"`
}

type amountBody struct {
	Total    money.Fen `json:"total"`
	Refund   money.Fen `json:"refund,omitempty"`
	Currency string    `json:"currency,omitempty"`
}

// Prepay registers a payment with JSAPI and returns its prepay_id.
func (w *WeChatPay) Prepay(ctx context.Context, p Payment, description, openid string) (string, error) {
	m, err := w.merchant(p.Account)
	if err != nil {
		return "", err
	}
	type payer struct {
		OpenID string `json:"openid"`
	}
	in := struct {
		AppID       string     `json:"appid"`
		MchID       string     `json:"mchid"`
		Description string     `json:"description"`
		OutTradeNo  string     `json:"out_trade_no"`
		TimeExpire  string     `json:"time_expire"`
		NotifyURL   string     `json:"notify_url"`
		Amount      amountBody `json:"amount"`
		Payer       payer      `json:"payer"`
	}{
		m.AppID, m.MchID, description, p.OutTradeNo, p.ExpiresAt.In(clock.Shanghai).Format(time.RFC3339), m.NotifyURL + "/" + url.PathEscape(m.Account),
		amountBody{Total: p.AmountFen, Currency: "CNY"}, payer{openid},
	}
	var out struct {
		PrepayID string `json:"prepay_id"`
	}
	if err := w.call(ctx, m, http.MethodPost, "/v3/pay/transactions/jsapi", in, &out); err != nil {
		return "", err
	}
	if out.PrepayID == "" {
		return "", ErrProvider.With("code", "EMPTY_PREPAY_ID")
	}
	return out.PrepayID, nil
}

// Invoke signs what the member's device needs to pay.
func (w *WeChatPay) Invoke(account, prepayID string, now time.Time) (Invocation, error) {
	m, err := w.merchant(account)
	if err != nil {
		return Invocation{}, err
	}
	i := Invocation{
		AppID: m.AppID, TimeStamp: strconv.FormatInt(now.Unix(), 10), NonceStr: nonce(), Package: "prepay_id=" + prepayID, SignType: "RSA",
	}
	i.PaySign, err = m.sign(i.AppID, i.TimeStamp, i.NonceStr, i.Package)
	return i, err
}

// transaction is a payment as WeChat Pay describes it.
type transaction struct {
	AppID         string     `json:"appid"`
	MchID         string     `json:"mchid"`
	OutTradeNo    string     `json:"out_trade_no"`
	TransactionID string     `json:"transaction_id"`
	TradeState    string     `json:"trade_state"`
	SuccessTime   time.Time  `json:"success_time"`
	Amount        amountBody `json:"amount"`
}

// receipt is what a transaction says was paid; nil if it was not.
func (m *merchant) receipt(t transaction) (*Receipt, error) {
	if t.TradeState != "SUCCESS" && t.TradeState != "REFUND" {
		return nil, nil //nolint:nilnil // documented: not paid
	}
	if t.MchID != m.MchID || t.AppID != m.AppID || t.TransactionID == "" || t.SuccessTime.IsZero() || t.Amount.Total <= 0 || (t.Amount.Currency != "" && t.Amount.Currency != "CNY") {
		return nil, ErrNotice.With("why", "it is not about a payment to this merchant")
	}
	return &Receipt{
		Provider: ProviderWeChat, Account: m.Account, OutTradeNo: t.OutTradeNo, TransactionID: t.TransactionID, AmountFen: t.Amount.Total,
		PaidAt: t.SuccessTime.UTC(),
	}, nil
}

// Query asks what became of a payment; nil: not paid.
func (w *WeChatPay) Query(ctx context.Context, p Payment) (*Receipt, error) {
	m, err := w.merchant(p.Account)
	if err != nil {
		return nil, err
	}
	var t transaction
	if err := w.call(ctx, m, http.MethodGet, "/v3/pay/transactions/out-trade-no/"+url.PathEscape(p.OutTradeNo)+"?mchid="+url.QueryEscape(m.MchID), nil, &t); err != nil {
		var refused *refusal
		if errors.As(err, &refused) && refused.Code == "ORDER_NOT_EXIST" {
			return nil, nil //nolint:nilnil // documented: not paid
		}
		return nil, err
	}
	return m.receipt(t)
}

// Close makes WeChat Pay refuse a payment from now on.
func (w *WeChatPay) Close(ctx context.Context, p Payment) error {
	m, err := w.merchant(p.Account)
	if err != nil {
		return err
	}
	in := struct {
		MchID string `json:"mchid"`
	}{m.MchID}
	return w.call(ctx, m, http.MethodPost, "/v3/pay/transactions/out-trade-no/"+url.PathEscape(p.OutTradeNo)+"/close", in, nil)
}

// Refund asks for a refund, under the name of the refund.
func (w *WeChatPay) Refund(ctx context.Context, p Payment, r Refund) (RefundState, string, error) {
	m, err := w.merchant(p.Account)
	if err != nil {
		return "", "", err
	}
	in := struct {
		OutTradeNo  string     `json:"out_trade_no"`
		OutRefundNo string     `json:"out_refund_no"`
		Reason      string     `json:"reason"`
		NotifyURL   string     `json:"notify_url"`
		Amount      amountBody `json:"amount"`
	}{p.OutTradeNo, hex.EncodeToString(r.ID[:]), r.Reason, m.NotifyURL + "/" + url.PathEscape(m.Account), amountBody{Total: p.ReceivedFen, Refund: r.AmountFen, Currency: "CNY"}}
	var out struct {
		RefundID string `json:"refund_id"`
		Status   string `json:"status"`
	}
	if err := w.call(ctx, m, http.MethodPost, "/v3/refund/domestic/refunds", in, &out); err != nil {
		return "", "", err
	}
	switch out.Status {
	case "SUCCESS":
		return RefundDone, out.RefundID, nil
	case "PROCESSING":
		return RefundAsked, out.RefundID, nil
	case "CLOSED", "ABNORMAL":
		return RefundFailed, out.RefundID, nil
	}
	return "", "", ErrProvider.With("code", "UNKNOWN_STATUS")
}

// refusal is an error answer of WeChat Pay.
type refusal struct {
	Status  int
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error names status, code and message.
func (r *refusal) Error() string {
	return fmt.Sprintf("wechat pay: %d %s: %s", r.Status, r.Code, r.Message)
}

const maxAnswer = 1 << 20

// call sends a signed request and reads a verified answer.
func (w *WeChatPay) call(ctx context.Context, m *merchant, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, m.BaseURL+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("request wechat pay: %w", err)
	}
	stamp, once := strconv.FormatInt(w.clock.Now().Unix(), 10), nonce()
	signature, err := m.sign(method, path, stamp, once, string(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", fmt.Sprintf(`WECHATPAY2-SHA256-RSA2048 mchid="%s",nonce_str="%s",timestamp="%s",serial_no="%s",signature="%s"`,
		m.MchID, once, stamp, m.Serial, signature))
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "lianke")
	r.Header.Set("Wechatpay-Serial", m.PlatformID)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := w.client.Do(r)
	if err != nil {
		return ErrProvider.With("code", "NO_ANSWER").Because(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return ErrProvider.With("code", "NO_ANSWER").Because(err)
	}
	if answer.StatusCode >= 300 {
		refused := &refusal{Status: answer.StatusCode}
		_ = json.Unmarshal(text, refused) // whatever it says, it is a refusal
		return ErrProvider.With("code", refused.Code).Because(refused)
	}
	if err := m.verify(answer.Header, text, w.clock.Now()); err != nil {
		return ErrProvider.With("code", "UNSIGNED_ANSWER").Because(err)
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return ErrProvider.With("code", "UNREADABLE_ANSWER").Because(err)
	}
	return nil
}

// sign signs lines, each ended by a newline, as WeChat Pay wants them.
func (m *merchant) sign(lines ...string) (string, error) {
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n") + "\n"))
	raw, err := rsa.SignPKCS1v15(rand.Reader, m.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign for wechat pay: %w", err)
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

// maxSkew is how far the time of a signature may be from ours.
const maxSkew = 5 * time.Minute

// verify checks that the platform signed the text recently.
func (m *merchant) verify(h http.Header, text []byte, now time.Time) error {
	stamp, err := strconv.ParseInt(h.Get("Wechatpay-Timestamp"), 10, 64)
	if err != nil {
		return ErrNotice.With("why", "no timestamp")
	}
	if age := now.Sub(time.Unix(stamp, 0)); age > maxSkew || age < -maxSkew {
		return ErrNotice.With("why", "its timestamp is too far from now")
	}
	if h.Get("Wechatpay-Serial") != m.PlatformID {
		return ErrNotice.With("why", "signed with a key that is not configured")
	}
	signature, err := base64.StdEncoding.DecodeString(h.Get("Wechatpay-Signature"))
	if err != nil {
		return ErrNotice.With("why", "no signature")
	}
	sum := sha256.Sum256([]byte(h.Get("Wechatpay-Timestamp") + "\n" + h.Get("Wechatpay-Nonce") + "\n" + string(text) + "\n"))
	if rsa.VerifyPKCS1v15(m.platform, crypto.SHA256, sum[:], signature) != nil {
		return ErrNotice.With("why", "the signature is wrong")
	}
	return nil
}

func nonce() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	return hex.EncodeToString(raw[:])
}
