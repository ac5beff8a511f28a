package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// smsLadder is when Aliyun pushes again: after 1, 5 and 10 minutes, then never.
var smsLadder = []time.Duration{time.Minute, 5 * time.Minute, 10 * time.Minute}

// pushBatch is how many receipts one push holds at most.
const pushBatch = 50

// receipt queues a delivery report; reports of the same moment travel together. The caller holds the lock.
func (s *Server) receipt(a *smsAccount, r map[string]any) {
	if a.ReceiptURL == "" {
		return
	}
	a.pending = append(a.pending, r)
	if a.flushing {
		return
	}
	a.flushing = true
	s.schedule(200*time.Millisecond, "sms/"+a.AccessKey, func(context.Context) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for batch := range slices.Chunk(a.pending, pushBatch) {
			s.pushSMS(a.AccessKey, a.ReceiptURL, batch)
		}
		a.pending, a.flushing = nil, false
	})
}

// pushSMS queues one push with its retries. The caller holds the lock.
func (s *Server) pushSMS(account, address string, items []map[string]any) {
	body, err := json.Marshal(items)
	if err != nil {
		return // maps of strings always marshal
	}
	swallow := false
	f := s.takeFaultLocked("callback " + account)
	do := func(ctx context.Context) bool { return s.postSMS(ctx, account, address, body) }
	due := s.now()
	if f != nil {
		switch f.Kind {
		case FaultDuplicate:
			s.queue.add(&delivery{due: due, lane: account, do: do})
		case FaultSwallowAck:
			swallow = true
		case FaultReorder:
			due = due.Add(2 * time.Second)
		}
	}
	s.queue.add(&delivery{due: due, lane: account, ladder: smsLadder, do: func(ctx context.Context) bool {
		ok := do(ctx)
		if swallow {
			swallow = false
			return false
		}
		return ok
	}})
}

// postSMS pushes once. Only HTTP 200 with a numeric code counts as an acknowledgement.
func (s *Server) postSMS(ctx context.Context, account, address string, body []byte) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json;charset=utf-8")
	e := Exchange{At: s.Now(), Route: "callback " + account, Request: string(body)}
	e.Status, e.Response = s.call(req)
	s.keep(e)
	var ack struct {
		Code *int `json:"code"`
	}
	return e.Status == http.StatusOK && json.Unmarshal([]byte(e.Response), &ack) == nil && ack.Code != nil && *ack.Code == 0
}

var link = regexp.MustCompile(`https?://[^\s<>"'，。）】]+`)

// links finds what a reader can tap: in the text, else in the values.
func links(text string, fields map[string]string) []string {
	out := link.FindAllString(text, -1)
	for _, v := range fields {
		out = append(out, link.FindAllString(v, -1)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// optOutWords are the replies that take a number off a signature's marketing list.
var optOutWords = []string{"R", "T", "TD", "N", "退订"}

// Reply lets the holder of a number answer the last message it got.
func (s *Server) Reply(number, content string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.phone(number)
	a := st.last.account
	if a == nil {
		return fmt.Errorf("sandbox: nobody wrote to this number")
	}
	if slices.Contains(optOutWords, strings.ToUpper(strings.TrimSpace(content))) {
		st.optedOut[st.last.sign] = true
	}
	if a.ReplyURL == "" {
		return nil
	}
	a.replies++
	s.pushSMS(a.AccessKey, a.ReplyURL, []map[string]any{{
		"phone_number": number, "send_time": shanghai(s.now()), "content": content, "sign_name": st.last.sign,
		"dest_code": "10690000", "sequence_id": 1_000_000 + a.replies,
	}})
	return nil
}
