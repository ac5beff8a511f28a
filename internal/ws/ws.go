// Package ws is the one place for WebSockets (gorilla/websocket). A Conn hides gorilla's rules from the rest of the house:
// one reader and one writer goroutine, deadlines on every write, pings and pongs, a bounded queue measured in bytes.
//
// A slow reader does not slow anybody else: when its queue is full the connection closes with code 4001 ("reconnect"), and
// the client resumes from its last position. Memory per idle connection is small because read buffers are 1 KB and write
// buffers come from a pool.
package ws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// Close codes of the house, besides those of RFC 6455.
const (
	CloseSlow    = 4001 // the queue is full: reconnect and resume
	CloseGoing   = 4002 // this process stops: reconnect after a jitter
	CloseRevoked = 4003 // the session has ended: sign in again
)

// Options bound a connection; zero fields take the defaults.
type Options struct {
	MaxMessage int64         // bytes of one incoming message; default 64 KB
	MaxQueue   int           // bytes waiting to be written; default 1 MB
	Ping       time.Duration // default 25 s; a peer silent for two pings is gone
	Write      time.Duration // time for one write; default 10 s
}

func (o Options) withDefaults() Options {
	if o.MaxMessage == 0 {
		o.MaxMessage = 64 << 10
	}
	if o.MaxQueue == 0 {
		o.MaxQueue = 1 << 20
	}
	if o.Ping == 0 {
		o.Ping = 25 * time.Second
	}
	if o.Write == 0 {
		o.Write = 10 * time.Second
	}
	return o
}

// ErrClosed is returned by Send once the connection is closing.
var ErrClosed = errors.New("ws: connection is closed")

// ErrSlow is returned by Send when the peer does not keep up; the connection is closed with CloseSlow.
var ErrSlow = errors.New("ws: peer is too slow")

// Upgrader upgrades requests. Only same-origin browsers may connect.
type Upgrader struct {
	opts Options
	up   websocket.Upgrader
}

// NewUpgrader returns an upgrader for connections with these bounds.
func NewUpgrader(opts Options) *Upgrader {
	return &Upgrader{opts: opts.withDefaults(), up: websocket.Upgrader{
		HandshakeTimeout: 10 * time.Second,
		ReadBufferSize:   1 << 10,
		WriteBufferSize:  4 << 10,
		WriteBufferPool:  &sync.Pool{},
	}}
}

// Conn is one connection.
type Conn struct {
	raw  *websocket.Conn
	opts Options

	mu     sync.Mutex
	queue  [][]byte
	queued int
	closed bool
	code   int
	reason string
	wake   chan struct{}
}

// Serve upgrades the request and runs the connection until either side closes it or ctx ends. onOpen receives the Conn
// before anything is read; onMessage is called for each text or binary message, one at a time. The error says why the
// connection ended; a normal end is nil.
func (u *Upgrader) Serve(ctx context.Context, w http.ResponseWriter, r *http.Request, onOpen func(*Conn), onMessage func(*Conn, []byte) error) error {
	raw, err := u.up.Upgrade(w, r, nil)
	if err != nil {
		return fmt.Errorf("upgrade: %w", err) // gorilla has answered
	}
	c := &Conn{raw: raw, opts: u.opts, wake: make(chan struct{}, 1)}
	onOpen(c)
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.writeLoop(ctx)
	}()
	err = c.readLoop(onMessage)
	c.Close(websocket.CloseNormalClosure, "")
	<-written
	if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseNoStatusReceived) {
		return nil
	}
	return err
}

// Send queues a text message. The slice must not change afterwards.
func (c *Conn) Send(message []byte) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	if c.queued+len(message) > c.opts.MaxQueue {
		c.mu.Unlock()
		c.Close(CloseSlow, "reconnect")
		return ErrSlow
	}
	c.queue = append(c.queue, message)
	c.queued += len(message)
	c.mu.Unlock()
	c.signal()
	return nil
}

// Close ends the connection with a code after what is queued has been written; with CloseSlow the queue is dropped.
func (c *Conn) Close(code int, reason string) {
	c.mu.Lock()
	if !c.closed {
		c.closed, c.code, c.reason = true, code, reason
		if code == CloseSlow {
			c.queue, c.queued = nil, 0
		}
	}
	c.mu.Unlock()
	c.signal()
}

func (c *Conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Conn) take() (messages [][]byte, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	messages, c.queue, c.queued = c.queue, nil, 0
	return messages, c.closed
}

func (c *Conn) readLoop(onMessage func(*Conn, []byte) error) error {
	c.raw.SetReadLimit(c.opts.MaxMessage)
	alive := func() error { return c.raw.SetReadDeadline(time.Now().Add(2*c.opts.Ping + c.opts.Write)) }
	c.raw.SetPongHandler(func(string) error { return alive() })
	for {
		if err := alive(); err != nil {
			return err
		}
		_, message, err := c.raw.ReadMessage()
		if err != nil {
			return err
		}
		if err := onMessage(c, message); err != nil {
			c.Close(websocket.ClosePolicyViolation, "")
			return err
		}
	}
}

func (c *Conn) writeLoop(ctx context.Context) {
	defer c.raw.Close()
	ping := time.NewTicker(c.opts.Ping)
	defer ping.Stop()
	for {
		messages, closed := c.take()
		for _, m := range messages {
			if c.raw.SetWriteDeadline(time.Now().Add(c.opts.Write)) != nil || c.raw.WriteMessage(websocket.TextMessage, m) != nil {
				c.Close(websocket.CloseAbnormalClosure, "")
				return
			}
		}
		if closed {
			text := websocket.FormatCloseMessage(c.code, c.reason)
			_ = c.raw.WriteControl(websocket.CloseMessage, text, time.Now().Add(c.opts.Write)) // the peer may be gone
			return
		}
		select {
		case <-ctx.Done():
			c.Close(CloseGoing, "reconnect")
		case <-c.wake:
		case <-ping.C:
			if c.raw.WriteControl(websocket.PingMessage, nil, time.Now().Add(c.opts.Write)) != nil {
				c.Close(websocket.CloseAbnormalClosure, "")
				return
			}
		}
	}
}
