package tracking

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/internal/importer"
)

// What the profile would refuse is refused with its column, so that one cell does not stop a file.
func TestARecordThatNoProfileTakesIsRejectedByColumn(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("长", 65)
	f := importer.NewFields(map[string]string{
		"source": "pos", "source_id": "1", "tags": "vip|" + long, "consent.smss": "granted", "consent.sms": "granted", "attr." + long: "x",
	})
	NewImportMembers(nil, nil).Parse(f)
	var paths []string
	for _, p := range f.Problems() {
		paths = append(paths, p.Path)
		require.NotEmpty(t, p.Hint.ZH)
		require.NotEmpty(t, p.Hint.EN)
	}
	require.ElementsMatch(t, []string{"tags", "consent.smss", "attr." + long}, paths)
}

func TestYuanIsExactToTheFen(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{
		"0": 0, "127.5": 12750, "29.50": 2950, "0.01": 1, "-3.456": -346, "0.005": 1, "-0.005": -1, "1e2": 10000, "99999999999.99": 9999999999999, "7.": 700,
	} {
		got, ok := yuan(json.Number(in))
		require.True(t, ok, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"", "x", "1/3", "1e400", "0x10", "NaN", "99999999999999999999"} {
		_, ok := yuan(in)
		require.False(t, ok, in)
	}
	rapid.Check(t, func(rt *rapid.T) {
		fen := rapid.Int64Range(-1e13, 1e13).Draw(rt, "fen")
		got, ok := yuan(new(big.Rat).SetFrac64(fen, 100).FloatString(rapid.IntRange(2, 6).Draw(rt, "digits")))
		require.True(rt, ok)
		require.Equal(rt, fen, got)
	})
}

func TestNamesOfTheSpec(t *testing.T) {
	t.Parallel()
	refund := facts("Order Refunded", map[string]any{"order_id": "A1", "total": json.Number("12.5"), "products": []any{map[string]any{"sku": "x", "quantity": json.Number("2")}}}, "app")
	require.Equal(t, []fact{{Key: "order_returned", Props: map[string]any{
		"order_no": "A1", "return_of": "A1", "touchpoint": "app", "amount_fen": int64(-1250), "quantity": int64(-2),
	}}}, refund)
	sum := facts("Order Completed", map[string]any{"order_id": "A2", "products": []any{map[string]any{"sku": "x", "price": "9.9", "quantity": json.Number("3")}}}, "")
	require.EqualValues(t, 2970, sum[0].Props["amount_fen"])
	require.Equal(t, "#1", sum[1].Suffix)
	require.Equal(t, []fact{{Key: "打卡", Props: map[string]any{"n": 1}}}, facts("打卡", map[string]any{"n": 1}, "app"))
}
