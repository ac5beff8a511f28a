package channels

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The shards of an account share its rate, whichever processes work them.
func TestShardsShareTheRate(t *testing.T) {
	t.Parallel()
	a := Account{Code: "sms", Settings: AccountSettings{RatePerSecond: 100, Shards: 4}}
	require.EqualValues(t, 25, share(a.Settings))
	require.InDelta(t, 1.0/3, float64(share(AccountSettings{RatePerSecond: 1, Shards: 3})), 1e-9)

	l := newLimits()
	soon, cancel := context.WithDeadline(t.Context(), time.Now().Add(50*time.Millisecond))
	defer cancel()
	for shard := range 4 {
		require.NoError(t, l.wait(soon, a, shard, 25), "a second's part of each shard goes at once")
	}
	for shard := range 4 {
		require.Error(t, l.wait(soon, a, shard, 25), "and no more than that")
	}
	require.NoError(t, l.wait(t.Context(), Account{Code: "free"}, 0, 1_000_000))
}
