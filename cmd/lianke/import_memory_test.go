package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/importer"
)

// An import keeps one batch in memory, however long the file is: what is alive after a collection between batches is the
// same for a file four times as long. It runs alone, not in parallel, because it measures the whole process.
func TestImportMemoryIsBounded(t *testing.T) {
	a := wired(t)
	alive := func(name string, lines int) uint64 {
		path := filepath.Join(t.TempDir(), "orders.csv")
		f, err := os.Create(path)
		require.NoError(t, err)
		w := bufio.NewWriter(f)
		fmt.Fprintln(w, "order_no,line_no,touchpoint,store,placed_at,paid_at,source,source_id,sku,quantity,unit_price_fen,discount_fen")
		for i := range lines {
			fmt.Fprintf(w, "%s-%d,%d,pos,S%d,2026-05-01 10:00:00,2026-05-01 10:00:00,pos,%d,sku%d,1,%d,0\n", name, i/3, i%3, i%7, i/5, i%50, 100+i%900)
		}
		require.NoError(t, w.Flush())
		require.NoError(t, f.Close())
		var peak uint64
		batches := 0
		rep, err := a.importer.Run(t.Context(), importer.Input{Kind: "orders", Path: path, Progress: func(importer.Progress) {
			batches++
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}})
		require.NoError(t, err)
		require.EqualValues(t, lines, rep.Accepted)
		require.GreaterOrEqual(t, batches, lines/importer.BatchRows/2)
		return peak
	}
	alive("first", 3*importer.BatchRows) // what is prepared and cached once
	short := alive("short", 3*importer.BatchRows)
	long := alive("long", 12*importer.BatchRows)
	t.Logf("alive between batches: %d KB of %d rows, %d KB of %d rows", short>>10, 3*importer.BatchRows, long>>10, 12*importer.BatchRows)
	require.Less(t, long, short+2<<20, "18,000 more rows take %d bytes more", int64(long)-int64(short))
}
