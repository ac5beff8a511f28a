package order_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/order"
)

func fields(s string) []string { return strings.Fields(s) }

// The whole machine, a row per status: what may follow it. A change here is a decision.
func TestStateMachine(t *testing.T) {
	t.Parallel()
	table := map[order.Status]string{
		"draft":             "placed cancelled",
		"placed":            "paid cancelled closed_unpaid",
		"paid":              "sourcing allocated cancel_requested cancelled",
		"sourcing":          "allocated partially_shipped cancel_requested cancelled",
		"allocated":         "sourcing partially_shipped shipped cancel_requested cancelled",
		"partially_shipped": "shipped",
		"shipped":           "delivered cancelled",
		"delivered":         "completed",
		"completed":         "",
		"cancel_requested":  "paid sourcing allocated cancelled",
		"cancelled":         "",
		"closed_unpaid":     "",
	}
	require.Len(t, order.Statuses, len(table))
	for _, from := range order.Statuses {
		may := ""
		for _, to := range order.Statuses {
			if order.May(from, to) {
				if may != "" {
					may += " "
				}
				may += string(to)
			}
		}
		want, known := table[from]
		require.True(t, known, from)
		require.ElementsMatch(t, fields(want), fields(may), "from %s", from)
		require.Equal(t, want == "", from.Final(), from)
	}
	// Nobody who paid is closed as unpaid, and what ended stays ended.
	for _, from := range order.Statuses {
		require.Equal(t, from == order.StatusPlaced, order.May(from, order.StatusClosedUnpaid), from)
		require.Equal(t, from == order.StatusPlaced || from == order.StatusCancelRequested, order.May(from, order.StatusPaid), from)
	}
}
