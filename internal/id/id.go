// Package id makes identifiers for aggregates: UUIDv7, so that primary keys grow with time and indexes stay compact.
// Births and members are not made here: they are bigints from one sequence (see member).
package id

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/google/uuid"
)

// UUID is the key of an aggregate. JSON carries it as a string.
type UUID = uuid.UUID

// New returns a fresh UUIDv7.
func New() UUID { return uuid.Must(uuid.NewV7()) }

// Parse reads the canonical 36-character form.
func Parse(s string) (UUID, error) { return uuid.Parse(s) }

// Derived returns the UUID that belongs to the parts: the same parts give the same id, for keys that must not change
// when the work that makes them is done twice (send keys, grant keys). Parts are length-prefixed, so ("ab","c") and
// ("a","bc") differ.
func Derived(parts ...string) UUID {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		for i, v := 0, uint64(len(p)); i < 8; i, v = i+1, v>>8 {
			n[i] = byte(v)
		}
		h.Write(n[:])
		h.Write([]byte(p))
	}
	var u UUID
	copy(u[:], h.Sum(nil))
	u[6] = u[6]&0x0f | 0x80 // version 8: vendor-defined content
	u[8] = u[8]&0x3f | 0x80
	return u
}

// Hash16 returns the first 16 bytes of the SHA-256 of s, in hex: a short, stable name for long keys.
func Hash16(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}
