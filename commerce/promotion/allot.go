package promotion

import "github.com/lianke/lianke/internal/money"

// Allot divides total over lines in proportion to weights, none above its cap: the largest remainder, and what a cap cuts
// off goes to the others in the same proportion. The parts sum to total, which must not exceed the sum of the caps; a line
// of weight 0 gets something only when the others are full.
func Allot(total money.Fen, weights []int64, caps []money.Fen) []money.Fen {
	parts := make([]money.Fen, len(weights))
	open := make([]int, 0, len(weights))
	for i := range weights {
		if caps[i] > 0 {
			open = append(open, i)
		}
	}
	left := total
	for len(open) > 0 && left > 0 {
		w := make([]int64, len(open))
		var sum int64
		for k, i := range open {
			w[k] = weights[i]
			sum += weights[i]
		}
		if sum == 0 {
			for k, i := range open {
				w[k] = int64(caps[i])
			}
		}
		shares, err := money.Split(left, w)
		if err != nil {
			return parts // no weight is negative and one is positive
		}
		rest := open[:0:0]
		full := false
		for k, i := range open {
			if shares[k] >= caps[i] {
				parts[i] = caps[i]
				left -= caps[i]
				full = true
			} else {
				rest = append(rest, i)
			}
		}
		if !full {
			for k, i := range open {
				parts[i] = shares[k]
			}
			return parts
		}
		open = rest
	}
	return parts
}

// spread divides total over the n units of a line by prefix floors, none above its cap; what a cap cuts off goes to the
// first units with room.
func spread(total money.Fen, caps, out []money.Fen) {
	n := int64(len(caps))
	var over money.Fen
	for k := range caps {
		out[k] = money.Unit(total, int64(k)+1, n)
		if out[k] > caps[k] {
			over += out[k] - caps[k]
			out[k] = caps[k]
		}
	}
	for k := 0; over > 0 && k < len(caps); k++ {
		d := min(over, caps[k]-out[k])
		out[k] += d
		over -= d
	}
}
