package tracking

import (
	"fmt"
	"time"
)

// Read decodes a body and returns the names of its messages, for the fuzzer.
func Read(kind string, raw []byte, source string, received time.Time) ([]string, error) {
	messages, err := read(kind, raw, source, received)
	var out []string
	for _, m := range messages {
		out = append(out, fmt.Sprint(m.source, m.id, m.at, m.keys))
	}
	return out, err
}
