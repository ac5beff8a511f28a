package sandbox

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// FaultKind is one way a provider misbehaves.
type FaultKind string

// The faults. API faults hit requests to the sandbox; callback faults hit what the sandbox delivers.
const (
	FaultLatency           FaultKind = "latency"             // answer after Delay (wall time)
	FaultStatus            FaultKind = "status"              // answer with HTTP status Code, nothing is done
	FaultBusy              FaultKind = "busy"                // -1 system error, nothing is done
	FaultCode              FaultKind = "code"                // the provider's error Code with Text, nothing is done
	FaultTokenRevoked      FaultKind = "token_revoked"       // all tokens of the app die first, then the request is handled
	FaultQuota             FaultKind = "quota"               // 45009
	FaultAcceptThenTimeout FaultKind = "accept_then_timeout" // the request is handled, then the connection breaks
	FaultReset             FaultKind = "reset"               // the connection breaks, nothing is done
	FaultTruncate          FaultKind = "truncate"            // half of the answer
	FaultDuplicate         FaultKind = "duplicate"           // callback delivered twice
	FaultReorder           FaultKind = "reorder"             // callback delivered after the following one
	FaultSwallowAck        FaultKind = "swallow_ack"         // callback's acknowledgement is lost: the provider retries
	FaultGreylist          FaultKind = "greylist"            // SMTP 451 4.7.1
	FaultNoMailbox         FaultKind = "no_mailbox"          // SMTP 550 5.1.1
)

// Fault is one entry of the script. Route is a part of "METHOD host/path APP_OR_ACCESS_KEY", of "callback APP_OR_ACCOUNT", "smtp rcpt ADDRESS" or "smtp data ADDRESS".
type Fault struct {
	Route string        `json:"route"`
	Kind  FaultKind     `json:"kind"`
	Times int           `json:"times"` // 0 = until cleared
	Skip  int           `json:"skip"`  // let this many pass first
	Code  int           `json:"code"`
	Text  string        `json:"text"` // for FaultCode; for Aliyun the whole Code, such as isv.DAY_LIMIT_CONTROL
	Delay time.Duration `json:"delay"`

	hits int
}

// Inject adds faults to the script. The first entry that matches a request and is not used up applies.
func (s *Server) Inject(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		s.faults = append(s.faults, &f)
	}
}

// ClearFaults empties the script.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (s *Server) takeFault(route string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takeFaultLocked(route)
}

// takeFaultLocked returns a copy of the fault that hits this route now, or nil.
func (s *Server) takeFaultLocked(route string) *Fault {
	for _, f := range s.faults {
		if !strings.Contains(route, f.Route) {
			continue
		}
		if f.Times > 0 && f.hits >= f.Skip+f.Times {
			continue
		}
		f.hits++
		if f.hits <= f.Skip {
			return nil
		}
		hit := *f
		return &hit
	}
	return nil
}

func (f *Fault) delay(ctx context.Context) {
	if f.Delay == 0 {
		return
	}
	t := time.NewTimer(f.Delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// answer writes what the client sees instead of the provider's work; false means the work is done as usual.
func (f *Fault) answer(w http.ResponseWriter, s *Server, account string) bool {
	switch f.Kind {
	case FaultReset:
		panic(http.ErrAbortHandler)
	case FaultStatus:
		w.WriteHeader(f.Code)
		fmt.Fprintf(w, "<html><body><h1>%d %s</h1></body></html>", f.Code, http.StatusText(f.Code))
		return true
	case FaultBusy:
		s.weixinError(w, weixinBusy)
		return true
	case FaultQuota:
		s.weixinError(w, weixinDailyQuota)
		return true
	case FaultCode:
		if strings.Contains(f.Text, ".") && f.Code == 0 {
			writeAliyun(w, http.StatusOK, map[string]any{"Code": f.Text, "Message": f.Text, "RequestId": requestID()})
			return true
		}
		s.weixinError(w, weixinCode{f.Code, f.Text})
		return true
	case FaultTokenRevoked:
		s.RevokeTokens(account)
	}
	return false
}
