// Package money holds amounts as integer fen and splits them without losing one. No floats come near money or points.
package money

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Fen is an amount in fen (1/100 yuan). Negative amounts are refunds and corrections.
type Fen int64

// String returns the amount as people read it: ¥1,234.50.
func (f Fen) String() string {
	n, sign := uint64(f), ""
	if f < 0 {
		n, sign = uint64(-f), "-"
	}
	yuan := strconv.FormatUint(n/100, 10)
	var b strings.Builder
	for i, c := range yuan {
		if i > 0 && (len(yuan)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return fmt.Sprintf("%s¥%s.%02d", sign, b.String(), n%100)
}

// ErrWeights is returned by Split when the weights cannot carry the amount.
var ErrWeights = errors.New("money: weights must be non-negative and sum to more than zero")

// Split divides total in proportion to weights by the largest-remainder method. The parts always sum to total; ties go
// to the earlier index, so the order of weights is a rule of the caller. A negative total splits like its mirror image.
// Weights are non-negative; at least one is positive, unless total is zero.
func Split(total Fen, weights []int64) ([]Fen, error) {
	parts := make([]Fen, len(weights))
	var sum uint64
	for _, w := range weights {
		if w < 0 {
			return nil, ErrWeights
		}
		sum += uint64(w)
	}
	if total == 0 {
		return parts, nil
	}
	if sum == 0 {
		return nil, ErrWeights
	}
	neg := total < 0
	abs := uint64(total)
	if neg {
		abs = uint64(-total)
	}
	type rest struct {
		index     int
		remainder uint64
	}
	rests := make([]rest, len(weights))
	left := abs
	for i, w := range weights {
		hi, lo := bits.Mul64(abs, uint64(w))
		q, r := bits.Div64(hi, lo, sum)
		parts[i] = Fen(q)
		rests[i] = rest{i, r}
		left -= q
	}
	slices.SortStableFunc(rests, func(a, b rest) int { return cmp.Compare(b.remainder, a.remainder) })
	for _, r := range rests[:left] {
		parts[r.index]++
	}
	if neg {
		for i := range parts {
			parts[i] = -parts[i]
		}
	}
	return parts, nil
}

// Unit returns the share of unit k (1-based) when c is spread over n equal units by prefix floors:
// ⌊c·k/n⌋ − ⌊c·(k−1)/n⌋. The shares of units 1..n sum to c. It is how a line's discount reaches its units.
func Unit(c Fen, k, n int64) Fen {
	return prefix(c, k, n) - prefix(c, k-1, n)
}

func prefix(c Fen, k, n int64) Fen {
	if c < 0 {
		return -prefix(-c, k, n)
	}
	hi, lo := bits.Mul64(uint64(c), uint64(k))
	q, _ := bits.Div64(hi, lo, uint64(n))
	return Fen(q)
}

// Bp applies a rate in basis points, rounding half away from zero: Bp(38100, 500) = 1905.
func Bp(amount Fen, bp int64) Fen {
	neg := (amount < 0) != (bp < 0)
	a, r := uint64(max(amount, -amount)), uint64(max(bp, -bp))
	hi, lo := bits.Mul64(a, r)
	lo, carry := bits.Add64(lo, 5000, 0)
	q, _ := bits.Div64(hi+carry, lo, 10000)
	if neg {
		return -Fen(q)
	}
	return Fen(q)
}
