package identity

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/fault"
)

// Key is one identifier: a value that means something in a namespace and, where the namespace is scoped, in a scope.
type Key struct{ NS, Scope, Value string }

// Normalise returns the key in its canonical form, or a fault that names what is wrong with it.
func (k Key) Normalise() (Key, error) {
	n, ok := byCode[k.NS]
	if !ok {
		return Key{}, ErrKey.With("ns", k.NS).WithFields(fault.Field{Path: "ns", Code: "unknown",
			Text: fault.Text{ZH: "未知的标识类型", EN: "unknown namespace"}})
	}
	scope := strings.TrimSpace(k.Scope)
	if n.Scoped && scope == "" || len(scope) > 128 {
		return Key{}, ErrKey.With("ns", k.NS).WithFields(fault.Field{Path: k.NS + ".scope", Code: "required",
			Text: fault.Text{ZH: "缺少作用域", EN: "the scope is missing"}})
	}
	if !n.Scoped {
		scope = ""
	}
	value, ok := n.normalise(k.Value)
	if !ok {
		return Key{}, ErrKey.With("ns", k.NS).WithFields(fault.Field{Path: k.NS, Code: "value",
			Text: fault.Text{ZH: "值为空、被屏蔽或格式不正确", EN: "the value is empty, blocked or malformed"}})
	}
	return Key{k.NS, scope, value}, nil
}

// identifier is a normalised key as the database knows it.
type identifier struct {
	ns, scope string
	vh        [16]byte
}

// tie is the number by which an epoch of the identifier goes before or after others where evidence is equal. It depends on
// nothing but the identifier: vh is keyed by namespace and scope.
func (i identifier) tie(epoch int) int64 {
	return int64(binary.BigEndian.Uint64(i.vh[:8]) + uint64(epoch)*0x9E3779B97F4A7C15)
}

func (i identifier) less(o identifier) bool {
	if i.ns != o.ns {
		return i.ns < o.ns
	}
	if i.scope != o.scope {
		return i.scope < o.scope
	}
	return string(i.vh[:]) < string(o.vh[:])
}

// hash returns the blind form of a normalised key.
func hash(ring *crypt.Ring, k Key) identifier {
	return identifier{k.NS, k.Scope, ring.Token("id:"+k.NS+"\x00"+k.Scope, k.Value)}
}

// PhoneName returns the derived key that stands for a real name on a phone, so that records which share both join and a
// family that shares the phone does not. sound is the name by sound (member.NameSound); ok is false if either is unusable.
func (s *Service) PhoneName(phoneValue, sound string) (k Key, ok bool) {
	p, ok := phone(phoneValue)
	if !ok || sound == "" {
		return Key{}, false
	}
	h := hash(s.ring, Key{NSPhone, "", p})
	return Key{NSPhoneName, hex.EncodeToString(h.vh[:]), sound}, true
}
