package crypt

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
)

// Key seals and opens the personal data of one birth.
type Key struct {
	birth int64
	aead  cipher.AEAD
}

// NewKey makes a data key for a birth and returns it with its wrapped form, which is what gets stored.
func (r *Ring) NewKey(birth int64) (Key, []byte) {
	raw := make([]byte, keySize)
	rand.Read(raw)
	return Key{birth, newAEAD(raw)}, r.wrap(birth, raw)
}

// Unwrap returns the data key of a birth from its stored form.
func (r *Ring) Unwrap(birth int64, wrapped []byte) (Key, error) {
	raw, err := r.unwrap(birth, wrapped)
	if err != nil {
		return Key{}, err
	}
	return Key{birth, newAEAD(raw)}, nil
}

// Rewrap returns the stored form under the current master key, and whether it differs.
func (r *Ring) Rewrap(birth int64, wrapped []byte) ([]byte, bool, error) {
	if len(wrapped) > idSize && [idSize]byte(wrapped[:idSize]) == r.masters[0].id {
		return wrapped, false, nil
	}
	raw, err := r.unwrap(birth, wrapped)
	if err != nil {
		return nil, false, err
	}
	return r.wrap(birth, raw), true, nil
}

func (r *Ring) wrap(birth int64, raw []byte) []byte {
	m := r.masters[0]
	out := make([]byte, idSize+nonceSize, idSize+nonceSize+keySize+16)
	copy(out, m.id[:])
	rand.Read(out[idSize:])
	return m.aead.Seal(out, out[idSize:idSize+nonceSize], raw, binding(birth, "key"))
}

func (r *Ring) unwrap(birth int64, wrapped []byte) ([]byte, error) {
	if len(wrapped) < idSize+nonceSize {
		return nil, ErrTampered
	}
	for _, m := range r.masters {
		if m.id != [idSize]byte(wrapped[:idSize]) {
			continue
		}
		raw, err := m.aead.Open(nil, wrapped[idSize:idSize+nonceSize], wrapped[idSize+nonceSize:], binding(birth, "key"))
		if err != nil || len(raw) != keySize {
			return nil, ErrTampered.Because(err)
		}
		return raw, nil
	}
	return nil, ErrUnknownMaster
}

// Seal encrypts a value of the given kind. The result opens only under the same birth and kind.
func (k Key) Seal(kind, value string) []byte {
	out := make([]byte, nonceSize, nonceSize+len(value)+16)
	rand.Read(out)
	return k.aead.Seal(out, out[:nonceSize], []byte(value), binding(k.birth, kind))
}

// Open decrypts what Seal returned.
func (k Key) Open(kind string, sealed []byte) (string, error) {
	if len(sealed) < nonceSize {
		return "", ErrTampered
	}
	value, err := k.aead.Open(nil, sealed[:nonceSize], sealed[nonceSize:], binding(k.birth, kind))
	if err != nil {
		return "", ErrTampered.Because(err)
	}
	return string(value), nil
}

// binding is the associated data: a sealed value moved to another birth or kind fails to open.
func binding(birth int64, kind string) []byte {
	out := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(kind)), uint64(birth))
	return append(out, kind...)
}
