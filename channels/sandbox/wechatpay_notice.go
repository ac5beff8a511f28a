package sandbox

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// payLadder is when WeChat Pay notifies again.
var payLadder = []time.Duration{
	15 * time.Second, 15 * time.Second, 30 * time.Second, 3 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute, 30 * time.Minute,
	30 * time.Minute, 60 * time.Minute, 3 * time.Hour, 3 * time.Hour, 3 * time.Hour, 6 * time.Hour, 6 * time.Hour,
}

// Pay lets the member pay what a merchant has registered; the merchant is notified, again and again until it answers.
func (s *Server) Pay(outTradeNo string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.pay.trades[outTradeNo]
	switch {
	case t == nil:
		return fmt.Errorf("no payment %s", outTradeNo)
	case t.State != "NOTPAY":
		return fmt.Errorf("payment %s is %s", outTradeNo, t.State)
	case !s.now().Before(t.Expires):
		return fmt.Errorf("payment %s has run out", outTradeNo)
	}
	s.pay.seq++
	t.State, t.PaidAt, t.TransactionID = "SUCCESS", s.now().Truncate(time.Second), fmt.Sprintf("4200%024d", s.pay.seq)
	notice, address, err := s.payNotice(t, "")
	if err != nil {
		return err
	}
	f := s.takeFaultLocked("callback " + t.merchant.MchID)
	swallow := f != nil && f.Kind == FaultSwallowAck
	do := func(ctx context.Context) bool {
		status, err := s.postNotice(ctx, address, notice, FlawNone)
		if swallow {
			swallow = false
			return false
		}
		return err == nil && status < 300
	}
	s.queue.add(&delivery{due: s.now(), lane: "pay/" + outTradeNo, ladder: payLadder, do: do})
	if f != nil && f.Kind == FaultDuplicate {
		s.queue.add(&delivery{due: s.now(), lane: "pay/" + outTradeNo, do: do})
	}
	return nil
}

// Flaw is what is wrong with a callback that Notify sends.
type Flaw string

// The flaws. Without one the callback is right.
const (
	FlawNone      Flaw = ""
	FlawSignature Flaw = "signature" // not the platform's
	FlawSerial    Flaw = "serial"    // of a key that the merchant does not have
	FlawStale     Flaw = "stale"     // signed an hour ago
	FlawBody      Flaw = "body"      // changed after it was signed
	FlawKey       Flaw = "key"       // sealed with another APIv3 key
	FlawAmount    Flaw = "amount"    // one fen less than what was asked for
	FlawUnknown   Flaw = "unknown"   // about a payment that nobody registered
)

// Notify sends a callback about a payment right away, with a flaw, and returns the status it was answered with. It may be
// called for a payment that nobody has paid: whoever believes it has been fooled.
func (s *Server) Notify(ctx context.Context, outTradeNo string, flaw Flaw) (int, error) {
	s.mu.Lock()
	t := s.pay.trades[outTradeNo]
	if t == nil {
		s.mu.Unlock()
		return 0, fmt.Errorf("no payment %s", outTradeNo)
	}
	said := *t
	if said.TransactionID == "" {
		said.State, said.TransactionID, said.PaidAt = "SUCCESS", "4200"+strings.Repeat("9", 24), s.now()
	}
	notice, address, err := s.payNotice(&said, flaw)
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return s.postNotice(ctx, address, notice, flaw)
}

// payNotice is the body of a callback. The caller holds the lock.
func (s *Server) payNotice(t *payTrade, flaw Flaw) (body []byte, address string, err error) {
	said := t.describe()
	key := []byte(t.merchant.APIv3Key)
	switch flaw {
	case FlawAmount:
		said["amount"] = map[string]any{"total": t.Total - 1, "currency": "CNY"}
	case FlawUnknown:
		said["out_trade_no"] = "NOBODY" + t.OutTradeNo[len(t.OutTradeNo)-6:]
	case FlawKey:
		key = []byte(strings.Repeat("x", 32))
	case FlawNone, FlawSignature, FlawSerial, FlawStale, FlawBody:
	}
	text, err := json.Marshal(said)
	if err != nil {
		return nil, "", fmt.Errorf("encode trade: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, "", fmt.Errorf("apiv3 key: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, "", fmt.Errorf("apiv3 key: %w", err)
	}
	s.pay.seq++
	nonce := fmt.Sprintf("%012d", s.pay.seq)
	body, err = json.Marshal(map[string]any{
		"id": fmt.Sprintf("EV-%d", s.pay.seq), "create_time": s.now().Format(time.RFC3339), "resource_type": "encrypt-resource",
		"event_type": "TRANSACTION.SUCCESS", "summary": "支付成功",
		"resource": map[string]string{
			"original_type": "transaction", "algorithm": "AEAD_AES_256_GCM", "associated_data": "transaction", "nonce": nonce,
			"ciphertext": base64.StdEncoding.EncodeToString(gcm.Seal(nil, []byte(nonce), text, []byte("transaction"))),
		},
	})
	return body, t.NotifyURL, err
}

func (s *Server) postNotice(ctx context.Context, address string, body []byte, flaw Flaw) (int, error) {
	s.mu.Lock()
	at := s.now()
	if flaw == FlawStale {
		at = at.Add(-time.Hour)
	}
	headers := s.paySign(body, at)
	s.mu.Unlock()
	switch flaw {
	case FlawSignature:
		headers["Wechatpay-Signature"] = base64.StdEncoding.EncodeToString(make([]byte, 256))
	case FlawSerial:
		headers["Wechatpay-Serial"] = "PUB_KEY_ID_0000000000000000000000000000000000"
	case FlawBody:
		body = bytes.Replace(body, []byte("支付成功"), []byte("支付成攻"), 1)
	case FlawNone, FlawStale, FlawKey, FlawAmount, FlawUnknown:
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("notify: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	status, _ := s.call(r)
	if status == 0 {
		return 0, errors.New("nobody answered the notification")
	}
	return status, nil
}
