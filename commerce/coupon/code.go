package coupon

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bits-and-blooms/bloom/v3"

	"github.com/lianke/lianke/internal/pg"
)

// alphabet is Crockford's base 32: no I, L, O, U.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const (
	codePrefix = "LK"
	weekDigits = 2
	randDigits = 10
	codeLength = len(codePrefix) + weekDigits + randDigits + 1
)

// weekZero is the first week that a code can carry; weeks wrap around after 1,024, some 19 years.
var weekZero = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

func weekOf(at time.Time) int64 { return int64(at.Sub(weekZero) / (7 * 24 * time.Hour)) }

// newCode makes a code that nobody can guess.
func newCode(random io.Reader, now time.Time) (string, error) {
	var raw [randDigits]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", fmt.Errorf("random coupon code: %w", err)
	}
	week := weekOf(now) & 1023
	digits := make([]byte, 0, codeLength-len(codePrefix))
	digits = append(digits, byte(week>>5), byte(week&31))
	for _, b := range raw {
		digits = append(digits, b&31)
	}
	digits = append(digits, check(digits))
	var code strings.Builder
	code.WriteString(codePrefix)
	for _, d := range digits {
		code.WriteByte(alphabet[d])
	}
	return code.String(), nil
}

// double multiplies by x in GF(32) with x⁵ + x² + 1.
func double(d byte) byte {
	d <<= 1
	if d&32 != 0 {
		d ^= 0b100101
	}
	return d
}

// check returns the digit that makes Σ dᵢ·xⁿ⁻ⁱ zero: any single wrong digit and any two digits exchanged break it,
// because the powers of x up to 31 differ.
func check(digits []byte) byte {
	var c byte
	for _, d := range digits {
		c = double(c) ^ d
	}
	return double(c)
}

// Normalise brings a code as people type it into its stored form: no blanks and hyphens in ours, capitals, and the digits
// that I, L and O are mistaken for. Other codes are only trimmed.
func Normalise(typed string) string {
	trimmed := strings.TrimSpace(typed)
	c := strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(trimmed))
	if len(c) != codeLength || !strings.HasPrefix(c, codePrefix) {
		return trimmed
	}
	return codePrefix + strings.NewReplacer("I", "1", "L", "1", "O", "0").Replace(c[len(codePrefix):])
}

// parseCode returns the week of a code of ours; ours is false for foreign codes, valid says that the check digit holds.
func parseCode(code string) (week int64, ours, valid bool) {
	if len(code) != codeLength || !strings.HasPrefix(code, codePrefix) {
		return 0, false, false
	}
	digits := make([]byte, 0, codeLength)
	for i := len(codePrefix); i < codeLength; i++ {
		d := strings.IndexByte(alphabet, code[i])
		if d < 0 {
			return 0, true, false
		}
		digits = append(digits, byte(d))
	}
	last := len(digits) - 1
	return int64(digits[0])<<5 | int64(digits[1]), true, check(digits[:last]) == digits[last]
}

// Filter knows which codes certainly do not exist, without asking the database.
type Filter struct {
	codes atomic.Pointer[filtered]
}

type filtered struct {
	bloom *bloom.BloomFilter
	first int64 // codes of weeks in [first, open) are all in bloom
	open  int64
}

// clockMargin covers processes whose clocks differ and transactions that were open when the filter was filled.
const clockMargin = time.Hour

const countCodesSQL = `
SELECT count(*)
FROM commerce.coupon_codes
WHERE starts_with(code, 'LK')`

const allCodesSQL = `
SELECT code
FROM commerce.coupon_codes
WHERE starts_with(code, 'LK')`

// Fill reads all codes of ours into the filter, at one wrong yes in a thousand (about 1.8 bytes a code). Weeks that are
// not over stay open: their codes are always looked up.
func (f *Filter) Fill(ctx context.Context, db pg.DB, now time.Time) error {
	var n int64
	if err := db.QueryRow(ctx, countCodesSQL).Scan(&n); err != nil {
		return fmt.Errorf("fill coupon filter: %w", err)
	}
	next := &filtered{bloom: bloom.NewWithEstimates(uint(max(n+n/8, 1024)), 0.001), first: max(0, weekOf(now)-1000), open: weekOf(now.Add(-clockMargin))}
	rows, err := db.Query(ctx, allCodesSQL)
	if err != nil {
		return fmt.Errorf("fill coupon filter: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		next.bloom.Add(rows.RawValues()[0])
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("fill coupon filter: %w", err)
	}
	f.codes.Store(next)
	return nil
}

// Absent reports that there is certainly no such code. It never does for foreign codes.
func (f *Filter) Absent(code string) bool {
	week, ours, valid := parseCode(code)
	if !ours {
		return false
	}
	if !valid {
		return true
	}
	c := f.codes.Load()
	if c == nil {
		return false
	}
	// The code carries its week modulo 1,024; [first, open) is shorter than that, so the week is found again.
	w := c.first + (week-c.first)&1023
	return w < c.open && !c.bloom.Test([]byte(code))
}
