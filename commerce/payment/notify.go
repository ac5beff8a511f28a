package payment

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/lianke/lianke/internal/fault"
)

// notice is a callback of WeChat Pay.
type notice struct {
	ID        string `json:"id"`
	EventType string `json:"event_type"`
	Resource  struct {
		Algorithm      string `json:"algorithm"`
		Ciphertext     string `json:"ciphertext"`
		AssociatedData string `json:"associated_data"`
		Nonce          string `json:"nonce"`
	} `json:"resource"`
}

// Notice reads a callback: its id and what it says was paid; a nil receipt is a callback about something else. Everything
// is verified before anything is believed; it fails with ErrNoMerchant or ErrNotice.
func (w *WeChatPay) Notice(account string, h http.Header, body []byte) (string, *Receipt, error) {
	m, err := w.merchant(account)
	if err != nil {
		return "", nil, err
	}
	if err := m.verify(h, body, w.clock.Now()); err != nil {
		return "", nil, err
	}
	var n notice
	if err := json.Unmarshal(body, &n); err != nil || n.ID == "" || len(n.ID) > 64 {
		return "", nil, ErrNotice.With("why", "it is unreadable")
	}
	text, err := m.open(n)
	if err != nil {
		return "", nil, err
	}
	if n.EventType != "TRANSACTION.SUCCESS" {
		return n.ID, nil, nil
	}
	var t transaction
	if err := json.Unmarshal(text, &t); err != nil {
		return "", nil, ErrNotice.With("why", "its resource is unreadable")
	}
	receipt, err := m.receipt(t)
	return n.ID, receipt, err
}

// open decrypts the resource of a callback.
func (m *merchant) open(n notice) ([]byte, error) {
	refused := ErrNotice.With("why", "its resource does not open with the APIv3 key")
	if n.Resource.Algorithm != "AEAD_AES_256_GCM" {
		return nil, ErrNotice.With("why", "its algorithm is unknown")
	}
	sealed, err := base64.StdEncoding.DecodeString(n.Resource.Ciphertext)
	if err != nil {
		return nil, refused
	}
	block, err := aes.NewCipher([]byte(m.APIv3Key))
	if err != nil {
		return nil, refused.Because(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, refused.Because(err)
	}
	if len(n.Resource.Nonce) != gcm.NonceSize() {
		return nil, refused
	}
	text, err := gcm.Open(nil, []byte(n.Resource.Nonce), sealed, []byte(n.Resource.AssociatedData))
	if err != nil {
		return nil, refused.Because(err)
	}
	return text, nil
}

const maxNotice = 64 << 10

// Callback is the handler of POST /callbacks/wechatpay/{account}. It answers as WeChat Pay expects: 204 when the message
// has been taken in, whatever it came to, and a failure with a reason when it has to come again or is not believed.
func (s *Service) Callback(pay *WeChatPay) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.callback(r.Context(), pay, w, r); err != nil {
			status := http.StatusInternalServerError
			if k := fault.KindOf(err); k == fault.Unauthenticated || errors.Is(err, ErrNoMerchant) {
				status = http.StatusUnauthorized
			}
			s.log.WarnContext(r.Context(), "payment callback refused", "account", r.PathValue("account"), "error", err)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(map[string]string{"code": "FAIL", "message": fault.From(err).Code})
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

func (s *Service) callback(ctx context.Context, pay *WeChatPay, w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxNotice))
	if err != nil {
		return ErrNotice.With("why", "it is too large").Because(err)
	}
	noticeID, receipt, err := pay.Notice(r.PathValue("account"), r.Header, body)
	if err != nil || receipt == nil {
		return err
	}
	_, err = s.Receive(ctx, *receipt, noticeID)
	return err
}
