package ws_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lianke/lianke/internal/ws"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, opts ws.Options, onOpen func(*ws.Conn), onMessage func(*ws.Conn, []byte) error) (url string, stop func(), ended <-chan error) {
	t.Helper()
	up := ws.NewUpgrader(opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 8)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		done <- up.Serve(ctx, w, r, onOpen, onMessage)
	}))
	t.Cleanup(func() { cancel(); s.Close() })
	return "ws" + strings.TrimPrefix(s.URL, "http"), cancel, done
}

func dial(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	c, res, err := websocket.DefaultDialer.DialContext(t.Context(), url, nil)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	t.Cleanup(func() { c.Close() })
	return c
}

func TestEchoInOrderAndGoodbye(t *testing.T) {
	url, stop, ended := serve(t, ws.Options{}, func(*ws.Conn) {}, func(c *ws.Conn, m []byte) error { return c.Send(bytes.Clone(m)) })
	c := dial(t, url)
	for i := range 100 {
		require.NoError(t, c.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, "%d", i)))
	}
	for i := range 100 {
		_, m, err := c.ReadMessage()
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i), string(m))
	}
	stop()
	_, _, err := c.ReadMessage()
	require.True(t, websocket.IsCloseError(err, ws.CloseGoing), "%v", err)
	<-ended
}

func TestSlowPeerIsCutOff(t *testing.T) {
	opened := make(chan *ws.Conn, 1)
	url, _, ended := serve(t, ws.Options{MaxQueue: 1 << 16}, func(c *ws.Conn) { opened <- c }, func(*ws.Conn, []byte) error { return nil })
	dial(t, url)
	server := <-opened
	message := bytes.Repeat([]byte("x"), 1<<15)
	var err error
	for range 100_000 {
		if err = server.Send(message); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, ws.ErrSlow)
	require.ErrorIs(t, server.Send(message), ws.ErrClosed)
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the connection did not end")
	}
}

func TestLimits(t *testing.T) {
	url, _, ended := serve(t, ws.Options{MaxMessage: 100}, func(*ws.Conn) {}, func(*ws.Conn, []byte) error { return errors.New("refused") })
	big := dial(t, url)
	require.NoError(t, big.WriteMessage(websocket.TextMessage, make([]byte, 1000)))
	_, _, err := big.ReadMessage()
	require.Error(t, err)
	require.Error(t, <-ended)

	bad := dial(t, url)
	require.NoError(t, bad.WriteMessage(websocket.TextMessage, []byte("x")))
	_, _, err = bad.ReadMessage()
	require.True(t, websocket.IsCloseError(err, websocket.ClosePolicyViolation), "%v", err)
	require.ErrorContains(t, <-ended, "refused")

	_, res, err := websocket.DefaultDialer.DialContext(t.Context(), url, http.Header{"Origin": {"https://evil.example"}})
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, res.StatusCode)
	require.NoError(t, res.Body.Close())
}
