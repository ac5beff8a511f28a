// Package egress makes the HTTP client for addresses that operators enter: webhooks of journeys.
//
// An operator may name any address, so the client must not become a way into the installation's own network. It resolves
// the name itself and checks the address it is about to connect to, after resolution and for every connection, so that a
// name which answers differently the second time gains nothing. Unless Options.Private allows it, only public unicast
// addresses are dialled. Redirects are not followed: the answer is handed back as it is. Proxies of the environment are not
// used, because the proxy would connect unchecked.
package egress

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/lianke/lianke/internal/fault"
)

// ErrPrivate says that an address is not a public one.
var ErrPrivate = fault.New(fault.Forbidden, "egress.private", "不允许访问内网地址 {addr}", "{addr} is not a public address").
	WithHint("如确需访问内网,请设置 LIANKE_WEBHOOK_PRIVATE=true", "set LIANKE_WEBHOOK_PRIVATE=true if calls into your own network are meant")

// Options of a client.
type Options struct {
	// Private allows loopback, private and link-local addresses.
	Private bool
	// Timeout of a whole call; 10 s if zero.
	Timeout time.Duration
}

// reserved are ranges that netip has no predicate for: carrier-grade NAT, protocol assignments, benchmarking, documentation,
// 6to4 and NAT64 (which embed IPv4 addresses), and what is reserved for ever.
var reserved = func() (out []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
	} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}()

// Public reports whether an address belongs to the public internet.
func Public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range reserved {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// New returns a client.
func New(o Options) *http.Client {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	if !o.Private {
		dialer.Control = refusePrivate
	}
	return &http.Client{
		Timeout: o.Timeout,
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    5 * time.Second,
			ResponseHeaderTimeout:  o.Timeout,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConns:           64,
			MaxIdleConnsPerHost:    8,
			MaxConnsPerHost:        32,
			IdleConnTimeout:        time.Minute,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// refusePrivate runs after a name is resolved and before the connection is made.
func refusePrivate(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("check address: %w", err)
	}
	if !Public(to.Addr()) {
		return ErrPrivate.With("addr", to.Addr().String())
	}
	return nil
}
