package money

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSplitSumsToWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		total := Fen(rapid.Int64Range(-1_000_000_000_000, 1_000_000_000_000).Draw(t, "total"))
		weights := rapid.SliceOfN(rapid.Int64Range(0, 1_000_000_000), 1, 50).Draw(t, "weights")
		weights[0]++
		parts, err := Split(total, weights)
		if err != nil {
			t.Fatal(err)
		}
		var sum Fen
		for i, p := range parts {
			sum += p
			if weights[i] == 0 && p != 0 {
				t.Fatalf("weight 0 received %d", p)
			}
		}
		if sum != total {
			t.Fatalf("parts sum to %d, want %d", sum, total)
		}
	})
}

func TestUnitsSumToLine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := Fen(rapid.Int64Range(-1_000_000_000, 1_000_000_000).Draw(t, "c"))
		n := rapid.Int64Range(1, 500).Draw(t, "n")
		var sum Fen
		for k := int64(1); k <= n; k++ {
			sum += Unit(c, k, n)
		}
		if sum != c {
			t.Fatalf("units sum to %d, want %d", sum, c)
		}
	})
}

func TestSplitGolden(t *testing.T) {
	t.Parallel()
	// The common order of the settlement study: a 4,000 fen coupon over 29,900 and 9,800.
	parts, err := Split(4000, []int64{29900, 9800})
	require.NoError(t, err)
	require.Equal(t, []Fen{3013, 987}, parts)
	require.Equal(t, Fen(493), Unit(987, 1, 2))
	require.Equal(t, Fen(494), Unit(987, 2, 2))
	require.Equal(t, Fen(1905), Bp(38100, 500))
	require.Equal(t, Fen(1670), Bp(33397, 500))
	_, err = Split(1, []int64{0, 0})
	require.ErrorIs(t, err, ErrWeights)
	require.Equal(t, "-¥1,234.05", Fen(-123405).String())
}
