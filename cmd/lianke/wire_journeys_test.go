package main

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/journeys"
)

// What a journey says about its hours reaches the ledger of messages.
func TestQuietHoursOfJourneysReachTheLedger(t *testing.T) {
	t.Parallel()
	a := wired(t)
	at := a.clock.Now()
	quiet, free := id.New(), id.New()
	require.NoError(t, pg.InTx(t.Context(), a.db, func(tx pgx.Tx) error {
		return messenger{a.channels}.Plan(t.Context(), tx, []journeys.Message{
			{Origin: journeys.Origin{Journey: "j", Node: "m", Birth: 1, At: at}, SendKey: quiet, Channel: "sms", Template: "x",
				QuietHours: &journeys.QuietHours{From: 20 * 60, To: 9*60 + 30}},
			{Origin: journeys.Origin{Journey: "j", Node: "m", Birth: 1, At: at}, SendKey: free, Channel: "sms", Template: "x"},
		})
	}))
	for key, want := range map[id.UUID][2]int{quiet: {20 * 60, 9*60 + 30}, free: {}} {
		var got [2]int
		require.NoError(t, a.db.QueryRow(t.Context(), `SELECT quiet_from, quiet_to FROM channels.messages WHERE send_key = $1`, key).Scan(&got[0], &got[1]))
		require.Equal(t, want, got)
	}
}
