// Package sandboxtest gives tests a running sandbox. The WeChat SDK keeps one HTTP client for the process, so the tests
// of one package share one sandbox and keep apart by appid, access key and address.
package sandboxtest

import (
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels/provider"
	"github.com/lianke/lianke/channels/sandbox"
	"github.com/lianke/lianke/internal/clock"
)

// Shared is the sandbox of this test process and the network that leads to it. Its clock is Clock, moved only by tests
// that own their account's time; callbacks are delivered when Pump is called.
type Shared struct {
	*sandbox.Server
	Network *provider.Network
	Client  *http.Client
	Clock   *clock.Virtual
	Log     *slog.Logger
}

// Start is where the shared clock begins.
var Start = time.Date(2026, 11, 11, 2, 0, 0, 0, time.UTC)

var open = sync.OnceValues(func() (*Shared, error) {
	c := clock.NewVirtual(Start)
	s, err := sandbox.Start(sandbox.Options{Clock: c, Manual: true})
	if err != nil {
		return nil, err
	}
	n, err := provider.Open(s.Route())
	if err != nil {
		return nil, err
	}
	return &Shared{Server: s, Network: n, Client: n.Client(), Clock: c, Log: slog.New(slog.DiscardHandler)}, nil
})

// Open returns the process's sandbox; it lives until the process ends.
func Open(t testing.TB) *Shared {
	t.Helper()
	s, err := open()
	require.NoError(t, err)
	return s
}

// Own starts a sandbox for one test, with its own clock, for everything that does not go through the WeChat SDK.
func Own(t testing.TB, opt sandbox.Options) *Shared {
	t.Helper()
	c := clock.NewVirtual(Start)
	if opt.Clock == nil {
		opt.Clock = c
	}
	opt.Manual = true
	s, err := sandbox.Start(opt)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	n, err := provider.Open(s.Route())
	require.NoError(t, err)
	return &Shared{Server: s, Network: n, Client: n.Client(), Clock: c, Log: slog.New(slog.DiscardHandler)}
}
