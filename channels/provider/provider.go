// Package provider builds the connections to message providers: one HTTP client and one dialer, which lead to the
// Internet or, with a Route, to the local stand-ins of channels/sandbox. The senders do not know the difference: they
// name api.weixin.qq.com and smtp.example.com either way, verify certificates either way, and run unchanged.
//
// With a Route nothing leaves the machine: an address without a stand-in is refused, not dialled.
package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// Route is where a sandbox listens. Its JSON form is the file that `lianke sandbox` writes.
type Route struct {
	HTTPS  string `json:"https"`  // every provider's API, told apart by SNI and Host
	SMTP   string `json:"smtp"`   // ports 25, 587: STARTTLS
	SMTPS  string `json:"smtps"`  // port 465: implicit TLS
	Admin  string `json:"admin"`  // plain HTTP, /__sandbox/*
	CAFile string `json:"ca"`     // path of the PEM file
	CAPEM  []byte `json:"-"`      // the certificate itself, for a sandbox in the same process
	Ledger string `json:"ledger"` // JSON lines of everything the sandbox accepted; empty without one
}

// ReadRoute reads the file that `lianke sandbox` writes.
func ReadRoute(path string) (*Route, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read sandbox route: %w", err)
	}
	r := new(Route)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read sandbox route %s: %w", path, err)
	}
	if r.CAPEM, err = os.ReadFile(r.CAFile); err != nil {
		return nil, fmt.Errorf("read sandbox certificate: %w", err)
	}
	return r, nil
}

// Network is how this process reaches providers. It is made by Open, once for a process.
type Network struct {
	route  *Route
	roots  *x509.CertPool
	client *http.Client
}

// Open returns the network of a route; nil means the Internet.
func Open(route *Route) (*Network, error) {
	if route == nil {
		return newNetwork(nil, nil), nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(route.CAPEM) {
		return nil, fmt.Errorf("open sandbox route: no certificate in %q", route.CAFile)
	}
	return newNetwork(route, roots), nil
}

func newNetwork(route *Route, roots *x509.CertPool) *Network {
	n := &Network{route: route, roots: roots}
	n.client = n.newClient()
	return n
}

// Sandboxed tells whether messages stay on this machine.
func (n *Network) Sandboxed() bool { return n.route != nil }

// RootCAs returns the certificates to trust; nil means those of the system.
func (n *Network) RootCAs() *x509.CertPool { return n.roots }

// DialContext connects to addr, or to its stand-in.
func (n *Network) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	if n.route == nil {
		return d.DialContext(ctx, network, addr)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	target := map[string]string{"443": n.route.HTTPS, "25": n.route.SMTP, "587": n.route.SMTP, "465": n.route.SMTPS}[port]
	if target == "" {
		return nil, fmt.Errorf("dial %s: the sandbox has no stand-in for this address", addr)
	}
	return d.DialContext(ctx, network, target)
}

// The bounds of an API call. Providers answer within a second or two; WeChat closes idle connections after a minute.
const (
	callTimeout     = 10 * time.Second
	maxConnsPerHost = 64
)

// Client returns the HTTP client for provider APIs, always the same one: connections are shared, and the WeChat SDK
// accepts only one for a process. Its Transport is a bare *http.Transport on purpose: SDKs clone it.
// Redirects are not followed; no provider API redirects, and credentials travel in query strings.
func (n *Network) Client() *http.Client { return n.client }

func (n *Network) newClient() *http.Client {
	return &http.Client{
		Timeout: callTimeout,
		Transport: &http.Transport{
			DialContext:           n.DialContext,
			TLSClientConfig:       &tls.Config{RootCAs: n.roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:     n.route == nil,
			MaxIdleConnsPerHost:   maxConnsPerHost,
			MaxConnsPerHost:       maxConnsPerHost,
			IdleConnTimeout:       50 * time.Second,
			TLSHandshakeTimeout:   5 * time.Second,
			ResponseHeaderTimeout: callTimeout,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
