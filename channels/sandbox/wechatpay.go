package sandbox

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/lianke/lianke/internal/clock"
)

// PayMerchant is a merchant account of WeChat Pay.
type PayMerchant struct {
	MchID     string `json:"mchid"`
	AppID     string `json:"appid"`
	Serial    string `json:"serial"`
	PublicKey string `json:"public_key"` // of the merchant, PEM
	APIv3Key  string `json:"apiv3_key"`
}

// payTrade is one payment that a merchant registered.
type payTrade struct {
	merchant      *payMerchant
	OutTradeNo    string
	PrepayID      string
	TransactionID string
	State         string // NOTPAY, SUCCESS, REFUND, CLOSED
	Total         int64
	OpenID        string
	NotifyURL     string
	Expires       time.Time
	PaidAt        time.Time
	Refunds       map[string]*payRefund
}

type payRefund struct {
	ID     string
	Amount int64
}

type payMerchant struct {
	PayMerchant
	key *rsa.PublicKey
}

// wechatPay is what the stand-in of WeChat Pay keeps.
type wechatPay struct {
	key       *rsa.PrivateKey // of the platform
	merchants map[string]*payMerchant
	trades    map[string]*payTrade
	nonces    map[string]bool
	seq       int64
}

// PayPlatformID names the platform's key in signatures.
const PayPlatformID = "PUB_KEY_ID_0116161616162026112300000000000001"

// AddPayMerchant registers a merchant account and returns the platform's public key, as PEM.
func (s *Server) AddPayMerchant(m PayMerchant) (platformKey string, err error) {
	block, _ := pem.Decode([]byte(m.PublicKey))
	if block == nil || m.MchID == "" || m.Serial == "" || len(m.APIv3Key) != 32 {
		return "", errors.New("a merchant needs mchid, serial, a public key as PEM and an apiv3_key of 32 characters")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("merchant's public key: %w", err)
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return "", errors.New("merchant's public key: not RSA")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pay.key == nil {
		if s.pay.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return "", fmt.Errorf("make platform key: %w", err)
		}
		s.pay.merchants, s.pay.trades, s.pay.nonces = map[string]*payMerchant{}, map[string]*payTrade{}, map[string]bool{}
	}
	s.pay.merchants[m.MchID] = &payMerchant{m, key}
	raw, err := x509.MarshalPKIXPublicKey(&s.pay.key.PublicKey)
	if err != nil {
		return "", fmt.Errorf("encode platform key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: raw})), nil
}

func (s *Server) wechatPayRoutes(mux *http.ServeMux) {
	const host = "api.mch.weixin.qq.com"
	handle := func(method, path string, f func(r *http.Request, m *payMerchant, body []byte) (int, any)) {
		mux.HandleFunc(method+" "+host+path, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			m, why := s.payAuthorize(r, body)
			status, out := http.StatusUnauthorized, any(payError("SIGN_ERROR", why))
			if why == "" {
				status, out = f(r, m, body)
			}
			s.payAnswer(w, status, out)
		})
	}
	handle("POST", "/v3/pay/transactions/jsapi", s.payPrepay)
	handle("GET", "/v3/pay/transactions/out-trade-no/{no}", s.payQuery)
	handle("POST", "/v3/pay/transactions/out-trade-no/{no}/close", s.payClose)
	handle("POST", "/v3/refund/domestic/refunds", s.payRefund)
}

func payError(code, message string) map[string]string {
	return map[string]string{"code": code, "message": message}
}

var payAuthorization = regexp.MustCompile(`^WECHATPAY2-SHA256-RSA2048 mchid="([^"]*)",nonce_str="([^"]*)",timestamp="([^"]*)",serial_no="([^"]*)",signature="([^"]*)"$`)

// payAuthorize checks a request like the provider: known merchant and serial, fresh timestamp, unused nonce, signature.
func (s *Server) payAuthorize(r *http.Request, body []byte) (*payMerchant, string) {
	p := payAuthorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if p == nil {
		return nil, "Authorization is malformed"
	}
	m := s.pay.merchants[p[1]]
	if m == nil || m.Serial != p[4] {
		return nil, "unknown merchant or serial"
	}
	stamp, err := strconv.ParseInt(p[3], 10, 64)
	if err != nil || s.now().Sub(time.Unix(stamp, 0)).Abs() > 5*time.Minute {
		return nil, "timestamp is too far from now"
	}
	if s.pay.nonces[p[2]] {
		return nil, "nonce_str was used"
	}
	signature, err := base64.StdEncoding.DecodeString(p[5])
	if err != nil {
		return nil, "signature is not base64"
	}
	sum := sha256.Sum256([]byte(r.Method + "\n" + r.URL.RequestURI() + "\n" + p[3] + "\n" + p[2] + "\n" + string(body) + "\n"))
	if rsa.VerifyPKCS1v15(m.key, crypto.SHA256, sum[:], signature) != nil {
		return nil, "signature is wrong"
	}
	if len(s.pay.nonces) > 100_000 {
		clear(s.pay.nonces)
	}
	s.pay.nonces[p[2]] = true
	return m, ""
}

// payAnswer answers with the platform's signature.
func (s *Server) payAnswer(w http.ResponseWriter, status int, out any) {
	var body []byte
	if out != nil {
		body, _ = json.Marshal(out)
		w.Header().Set("Content-Type", "application/json")
	}
	for name, value := range s.paySign(body, s.now()) {
		w.Header().Set(name, value)
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// paySign are the headers of something that the platform signed at the time.
func (s *Server) paySign(body []byte, at time.Time) map[string]string {
	if s.pay.key == nil {
		return nil
	}
	s.pay.seq++
	stamp, nonce := strconv.FormatInt(at.Unix(), 10), fmt.Sprintf("nonce%026d", s.pay.seq)
	sum := sha256.Sum256([]byte(stamp + "\n" + nonce + "\n" + string(body) + "\n"))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.pay.key, crypto.SHA256, sum[:])
	if err != nil {
		return nil
	}
	return map[string]string{
		"Wechatpay-Timestamp": stamp, "Wechatpay-Nonce": nonce, "Wechatpay-Serial": PayPlatformID,
		"Wechatpay-Signature": base64.StdEncoding.EncodeToString(signature),
	}
}

var outTradeNo = regexp.MustCompile(`^[0-9A-Za-z_|*-]{6,32}$`)

func (s *Server) payPrepay(_ *http.Request, m *payMerchant, body []byte) (int, any) {
	var in struct {
		AppID       string `json:"appid"`
		MchID       string `json:"mchid"`
		Description string `json:"description"`
		OutTradeNo  string `json:"out_trade_no"`
		TimeExpire  string `json:"time_expire"`
		NotifyURL   string `json:"notify_url"`
		Amount      struct {
			Total    int64  `json:"total"`
			Currency string `json:"currency"`
		} `json:"amount"`
		Payer struct {
			OpenID string `json:"openid"`
		} `json:"payer"`
	}
	if err := json.Unmarshal(body, &in); err != nil || in.MchID != m.MchID || in.AppID != m.AppID || in.Description == "" ||
		!outTradeNo.MatchString(in.OutTradeNo) || in.Amount.Total < 1 || in.Payer.OpenID == "" || in.NotifyURL == "" {
		return http.StatusBadRequest, payError("PARAM_ERROR", "a field is missing or wrong")
	}
	expires, err := time.Parse(time.RFC3339, in.TimeExpire)
	if err != nil || !expires.After(s.now()) {
		return http.StatusBadRequest, payError("PARAM_ERROR", "time_expire")
	}
	t := s.pay.trades[in.OutTradeNo]
	switch {
	case t == nil:
		s.pay.seq++
		t = &payTrade{
			merchant: m, OutTradeNo: in.OutTradeNo, PrepayID: fmt.Sprintf("wx%s%010d", s.now().In(clock.Shanghai).Format("20060102150405"), s.pay.seq),
			State: "NOTPAY", Refunds: map[string]*payRefund{},
		}
		s.pay.trades[in.OutTradeNo] = t
	case t.merchant != m || t.Total != in.Amount.Total:
		return http.StatusBadRequest, payError("OUT_TRADE_NO_USED", "the number was used for another payment")
	case t.State == "CLOSED":
		return http.StatusBadRequest, payError("ORDER_CLOSED", "the payment is closed")
	case t.State != "NOTPAY":
		return http.StatusBadRequest, payError("ORDERPAID", "the payment is paid")
	}
	t.Total, t.OpenID, t.NotifyURL, t.Expires = in.Amount.Total, in.Payer.OpenID, in.NotifyURL, expires
	return http.StatusOK, map[string]string{"prepay_id": t.PrepayID}
}

// describe is the trade as queries and callbacks tell it.
func (t *payTrade) describe() map[string]any {
	out := map[string]any{
		"appid": t.merchant.AppID, "mchid": t.merchant.MchID, "out_trade_no": t.OutTradeNo, "trade_state": t.State, "trade_type": "JSAPI",
		"amount": map[string]any{"total": t.Total, "payer_total": t.Total, "currency": "CNY", "payer_currency": "CNY"},
		"payer":  map[string]string{"openid": t.OpenID},
	}
	if t.TransactionID != "" {
		out["transaction_id"] = t.TransactionID
		out["success_time"] = t.PaidAt.In(clock.Shanghai).Format(time.RFC3339)
	}
	return out
}

func (s *Server) payQuery(r *http.Request, m *payMerchant, _ []byte) (int, any) {
	t := s.pay.trades[r.PathValue("no")]
	if t == nil || t.merchant != m || r.URL.Query().Get("mchid") != m.MchID {
		return http.StatusNotFound, payError("ORDER_NOT_EXIST", "there is no such payment")
	}
	return http.StatusOK, t.describe()
}

func (s *Server) payClose(r *http.Request, m *payMerchant, _ []byte) (int, any) {
	t := s.pay.trades[r.PathValue("no")]
	switch {
	case t == nil || t.merchant != m:
		return http.StatusNotFound, payError("ORDER_NOT_EXIST", "there is no such payment")
	case t.State == "SUCCESS" || t.State == "REFUND":
		return http.StatusBadRequest, payError("ORDERPAID", "the payment is paid")
	}
	t.State = "CLOSED"
	return http.StatusNoContent, nil
}

func (s *Server) payRefund(_ *http.Request, m *payMerchant, body []byte) (int, any) {
	var in struct {
		OutTradeNo  string `json:"out_trade_no"`
		OutRefundNo string `json:"out_refund_no"`
		Amount      struct {
			Refund, Total int64
			Currency      string
		} `json:"amount"`
	}
	if err := json.Unmarshal(body, &in); err != nil || in.OutRefundNo == "" || in.Amount.Refund < 1 || in.Amount.Currency != "CNY" {
		return http.StatusBadRequest, payError("PARAM_ERROR", "a field is missing or wrong")
	}
	t := s.pay.trades[in.OutTradeNo]
	if t == nil || t.merchant != m || (t.State != "SUCCESS" && t.State != "REFUND") {
		return http.StatusNotFound, payError("RESOURCE_NOT_EXISTS", "there is no such payment")
	}
	known := t.Refunds[in.OutRefundNo]
	if known == nil {
		var done int64
		for _, r := range t.Refunds {
			done += r.Amount
		}
		if in.Amount.Total != t.Total || done+in.Amount.Refund > t.Total {
			return http.StatusForbidden, payError("NOT_ENOUGH", "the refund exceeds what was paid")
		}
		s.pay.seq++
		known = &payRefund{ID: fmt.Sprintf("50%026d", s.pay.seq), Amount: in.Amount.Refund}
		t.Refunds[in.OutRefundNo], t.State = known, "REFUND"
	} else if known.Amount != in.Amount.Refund {
		return http.StatusBadRequest, payError("PARAM_ERROR", "out_refund_no was used for another refund")
	}
	return http.StatusOK, map[string]any{
		"refund_id": known.ID, "out_refund_no": in.OutRefundNo, "transaction_id": t.TransactionID, "out_trade_no": t.OutTradeNo, "status": "SUCCESS",
		"amount": map[string]int64{"total": t.Total, "refund": known.Amount},
	}
}

// Refunded adds up what was refunded of a payment.
func (s *Server) Refunded(outTradeNo string) (sum int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.pay.trades[outTradeNo]; t != nil {
		for _, r := range t.Refunds {
			sum += r.Amount
		}
	}
	return sum
}
