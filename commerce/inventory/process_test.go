package inventory_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/harness"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

// Two processes sell one SKU; one is killed in the middle of it. Whoever was answered yes has the stock, whoever was not asks
// the other process again under the same id, and in the end exactly what was there is sold.
func TestTwoProcessesSellOneSKUAndOneIsKilled(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	db, err := pg.Open(t.Context(), url, 8)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	s := openOn(t, db)
	s.stock(map[inventory.Place]int64{good("tea", "S1", "hq"): units, good("cup", "S1", "hq"): 10_000})
	_, secret, err := auth.New(db, clock.System{}, slog.New(slog.DiscardHandler), org.Tree{}).CreateKey(t.Context(), auth.System, auth.CreateKeyInput{
		Kind: auth.KeyAPI, Name: "till", Source: "test", Roles: []auth.Role{auth.RoleManager}, PerSecond: 100_000,
	})
	require.NoError(t, err)
	dir := t.TempDir()
	doomed := harness.Start(t, harness.Options{DatabaseURL: url, DataDir: dir, Roles: []string{"api"}})
	heir := harness.Start(t, harness.Options{DatabaseURL: url, DataDir: dir, Roles: []string{"api"}})

	client := &http.Client{Timeout: harness.Deadline}
	hold := func(addr, id string) (status int) {
		lines := []map[string]any{{"sku": "cup", "location": "S1", "quantity": 1}, {"sku": "tea", "location": "S1", "quantity": 1}}
		body, err := json.Marshal(map[string]any{"id": id, "minutes": 60, "lines": lines})
		if err != nil {
			return 0
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/api/v1/stock/holds", bytes.NewReader(body))
		if err != nil {
			return 0
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+secret)
		res, err := client.Do(req)
		if err != nil {
			return 0
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	answers := make([]int, buyers)
	first := make(chan struct{}, buyers)
	var wg sync.WaitGroup
	for buyer := range buyers {
		wg.Go(func() {
			id := fmt.Sprintf("b-%d", buyer)
			addr := []string{doomed.Addr, heir.Addr}[buyer%2]
			answers[buyer] = hold(addr, id)
			first <- struct{}{}
			for deadline := time.Now().Add(harness.Deadline); answers[buyer] == 0 && time.Now().Before(deadline); {
				answers[buyer] = hold(heir.Addr, id)
			}
		})
	}
	for range 4 {
		<-first
	}
	doomed.Kill()
	wg.Wait()

	yes := 0
	for buyer, status := range answers {
		require.Contains(t, []int{http.StatusOK, http.StatusPreconditionFailed}, status, "buyer %d", buyer)
		var open int64
		require.NoError(t, db.QueryRow(t.Context(), `
			SELECT coalesce(sum(quantity - consumed - released), 0)
			FROM commerce.stock_reservations WHERE kind = 'hold' AND id = $1`, fmt.Sprintf("b-%d", buyer)).Scan(&open))
		if status == http.StatusOK {
			yes++
			require.EqualValues(t, 2, open, "buyer %d", buyer)
		} else {
			require.Zero(t, open, "buyer %d", buyer)
		}
	}
	require.Equal(t, units, yes)
	_, reserved := s.level(good("tea", "S1", "hq"))
	require.EqualValues(t, units, reserved)
	s.books()
}
