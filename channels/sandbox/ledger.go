package sandbox

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// Sent is one message a provider accepted.
type Sent struct {
	At         time.Time         `json:"at"`
	Provider   string            `json:"provider"` // wechat, miniprogram, sms, email
	Account    string            `json:"account"`  // appid, access key, envelope sender
	To         string            `json:"to"`
	Key        string            `json:"key,omitempty"` // client_msg_id, OutId, X-Send-Key: empty if the protocol has no place for it
	ProviderID string            `json:"provider_id"`
	Template   string            `json:"template,omitempty"`
	Subject    string            `json:"subject,omitempty"`
	Fields     map[string]string `json:"fields,omitempty"`
	URL        string            `json:"url,omitempty"`
	Page       string            `json:"page,omitempty"`
	Size       int               `json:"size,omitempty"`
}

// ledger keeps accepted sends in memory and, if it has a file, as JSON lines.
type ledger struct {
	mu    sync.Mutex
	file  *os.File
	items []Sent
}

func openLedger(path string) (*ledger, error) {
	l := &ledger{}
	if path == "" {
		return l, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open sandbox ledger: %w", err)
	}
	l.file = f
	return l, nil
}

// add records a send. The line is in the kernel before the provider answers, so it outlives any death but the machine's.
func (l *ledger) add(s Sent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = append(l.items, s)
	if l.file == nil {
		return nil
	}
	line, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write sandbox ledger: %w", err)
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write sandbox ledger: %w", err)
	}
	return nil
}

func (l *ledger) close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// Sends returns what a provider accepted, oldest first; an empty provider means all of them.
func (s *Server) Sends(provider string) []Sent {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	var out []Sent
	for _, i := range s.ledger.items {
		if provider == "" || i.Provider == provider {
			out = append(out, i)
		}
	}
	return out
}

// ReadLedger reads a ledger file back. A last line without its end (a killed sandbox) is ignored.
func ReadLedger(path string) ([]Sent, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read sandbox ledger: %w", err)
	}
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	var out []Sent
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s Sent
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return nil, fmt.Errorf("read sandbox ledger: %w", err)
		}
		out = append(out, s)
	}
	return out, lines.Err()
}
