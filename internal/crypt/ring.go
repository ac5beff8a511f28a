package crypt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"

	"github.com/lianke/lianke/internal/fault"
)

const (
	keySize   = 32
	idSize    = 4
	nonceSize = 12
)

// Errors of the package.
var (
	ErrMasterKey = fault.New(fault.Precondition, "crypt.master_key", "主密钥不可用: {why}", "the master key is unusable: {why}").
			WithHint("需要 32 字节的主密钥,见 LIANKE_MASTER_KEY 与 LIANKE_MASTER_KEY_FILE", "it must have 32 bytes; see LIANKE_MASTER_KEY and LIANKE_MASTER_KEY_FILE")
	ErrUnknownMaster = fault.New(fault.Precondition, "crypt.unknown_master", "数据由另一把主密钥加密", "the data was sealed under another master key").
				WithHint("请恢复与备份一起保存的主密钥", "restore the master key that was kept with the backup")
	// ErrTampered says that a sealed value does not belong where it was found, or was changed.
	ErrTampered = fault.New(fault.Internal, "crypt.tampered", "密文校验失败", "a sealed value fails authentication").
			WithHint("数据可能被改动或错位,请从备份核对该记录", "the row was changed or moved outside lianke; compare it with a backup")
)

// Ring holds the master keys and derives what the product needs from them. It is safe for concurrent use.
type Ring struct {
	masters []master // the first one wraps
	token   []byte
	macs    sync.Pool // of hash.Hash under token: links in mails are signed by the hundred thousand
}

type master struct {
	id   [idSize]byte
	aead cipher.AEAD
}

// New returns a ring of the given 32-byte master keys, the current one first.
func New(keys ...[]byte) (*Ring, error) {
	if len(keys) == 0 {
		return nil, ErrMasterKey.With("why", "it is empty")
	}
	r := &Ring{}
	for _, key := range keys {
		if len(key) != keySize {
			return nil, ErrMasterKey.With("why", fmt.Sprintf("it has %d bytes", len(key)))
		}
		var m master
		copy(m.id[:], derive(key, "lianke master id", idSize))
		m.aead = newAEAD(derive(key, "lianke wrap", keySize))
		r.masters = append(r.masters, m)
	}
	r.token = derive(keys[len(keys)-1], "lianke tokens", keySize)
	return r, nil
}

func derive(key []byte, purpose string, n int) []byte {
	out, err := hkdf.Key(sha256.New, key, nil, purpose, n)
	if err != nil {
		panic("crypt: " + err.Error())
	}
	return out
}

func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("crypt: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("crypt: " + err.Error())
	}
	return aead
}

// Token returns the blind token of a value: equal kind and value give equal tokens, and only the holder of the master
// key can make one.
func (r *Ring) Token(kind, value string) [16]byte {
	h, _ := r.macs.Get().(hash.Hash)
	if h == nil {
		h = hmac.New(sha256.New, r.token)
	}
	defer r.macs.Put(h)
	h.Reset()
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(kind)))
	h.Write(n[:])
	h.Write([]byte(kind))
	h.Write([]byte(value))
	var sum [sha256.Size]byte
	var out [16]byte
	copy(out[:], h.Sum(sum[:0]))
	return out
}
