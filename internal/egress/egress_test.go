package egress_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/egress"
)

func TestPublic(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"1.1.1.1", "8.8.8.8", "114.114.114.114", "2400:3200::1"} {
		require.True(t, egress.Public(netip.MustParseAddr(s)), s)
	}
	for _, s := range []string{
		"0.0.0.0", "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255",
		"::", "::1", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
	} {
		require.False(t, egress.Public(netip.MustParseAddr(s)), s)
	}
}

func TestPrivateAddressesAndRedirects(t *testing.T) {
	t.Parallel()
	reached := 0
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
	t.Cleanup(inside.Close)
	moved := httptest.NewServer(http.RedirectHandler(inside.URL, http.StatusTemporaryRedirect))
	t.Cleanup(moved.Close)
	get := func(o egress.Options, url string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		require.NoError(t, err)
		res, err := egress.New(o).Do(req)
		if err == nil {
			require.NoError(t, res.Body.Close())
		}
		return res, err
	}
	_, err := get(egress.Options{}, inside.URL)
	require.ErrorIs(t, err, egress.ErrPrivate)
	require.Zero(t, reached)

	res, err := get(egress.Options{Private: true}, moved.URL)
	require.NoError(t, err)
	require.Equal(t, http.StatusTemporaryRedirect, res.StatusCode, "the answer of a redirect is the answer")
	require.Zero(t, reached)

	_, err = get(egress.Options{Private: true}, inside.URL)
	require.NoError(t, err)
	require.Equal(t, 1, reached)
}
