package tracking

import (
	"strings"
	"sync"
	"time"

	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/identity"
)

// How long and how many resolutions are remembered. The time bounds how long evidence that another process saw, or an
// erasure, goes unnoticed by calls that only repeat what was said before.
const (
	resolvedFor = time.Minute
	resolvedMax = 200_000
)

// resolutions remembers whose facts calls with the same keys are. The birth of an identifier never changes, so what may age
// is only the evidence: a device hangs on its newest login, so keys that share a device with other keys seen since are
// forgotten.
type resolutions struct {
	mu     sync.Mutex
	births map[string]resolution
	newest map[string]string // device → keys last seen with it
}

type resolution struct {
	birth member.Birth
	until time.Time
}

// fold names a set of keys. stable is false if the birth behind one of them may change: a phone may be issued again.
func fold(keys []identity.Key) (name string, devices []string, stable bool) {
	var b strings.Builder
	stable = true
	for _, k := range keys {
		one := k.NS + "\x00" + k.Scope + "\x00" + k.Value + "\x01"
		b.WriteString(one)
		switch k.NS {
		case identity.NSPhone:
			stable = false
		case identity.NSAnonymous, identity.NSDevice:
			devices = append(devices, one)
		}
	}
	return b.String(), devices, stable
}

func (r *resolutions) get(keys []identity.Key, now time.Time) (member.Birth, bool) {
	name, devices, stable := fold(keys)
	if !stable {
		return 0, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.births[name]
	if !ok || now.After(known.until) {
		return 0, false
	}
	for _, d := range devices {
		if r.newest[d] != name {
			return 0, false
		}
	}
	return known.birth, true
}

// put remembers a resolution that is committed.
func (r *resolutions) put(keys []identity.Key, birth member.Birth, now time.Time) {
	name, devices, stable := fold(keys)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.births == nil || len(r.births) >= resolvedMax || len(r.newest) >= resolvedMax {
		r.births, r.newest = map[string]resolution{}, map[string]string{}
	}
	for _, d := range devices {
		r.newest[d] = name
	}
	if stable {
		r.births[name] = resolution{birth, now.Add(resolvedFor)}
	}
}
