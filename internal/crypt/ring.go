package crypt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lianke/lianke/internal/fault"
)

// The names under which the master key is given, and its file in the data directory.
const (
	EnvMasterKey     = "LIANKE_MASTER_KEY"
	EnvMasterKeyFile = "LIANKE_MASTER_KEY_FILE"
	MasterKeyFile    = "master.key"
)

const (
	keySize   = 32
	idSize    = 4
	nonceSize = 12
)

// Errors of the package.
var (
	ErrMasterKey = fault.New(fault.Precondition, "crypt.master_key", "主密钥不可用: {why}", "the master key is unusable: {why}").
			WithHint("请提供 32 字节密钥的 base64 或十六进制形式 (openssl rand -base64 32)", "give 32 bytes as base64 or hex (openssl rand -base64 32)")
	ErrUnknownMaster = fault.New(fault.Precondition, "crypt.unknown_master", "数据由另一把主密钥加密", "the data was sealed under another master key").
				WithHint("请把旧主密钥加到密钥文件的后面几行", "append the old master key as a further line of the key file")
	// ErrTampered says that a sealed value does not belong where it was found, or was changed.
	ErrTampered = fault.New(fault.Internal, "crypt.tampered", "密文校验失败", "a sealed value fails authentication")
)

// Ring holds the master keys and derives what the product needs from them. It is safe for concurrent use.
type Ring struct {
	masters []master // the first one wraps
	token   []byte
}

type master struct {
	id   [idSize]byte
	aead cipher.AEAD
}

// Load reads the master key from the environment or from dataDir, creating a new one there if there is none. Without
// environment and data directory it fails: a key that lives nowhere would make everything it sealed unreadable.
func Load(dataDir string) (*Ring, error) {
	if v := os.Getenv(EnvMasterKey); v != "" {
		return Parse(v)
	}
	path := os.Getenv(EnvMasterKeyFile)
	if path == "" {
		if dataDir == "" {
			return nil, ErrMasterKey.With("why", "neither "+EnvMasterKey+" nor a data directory is set")
		}
		path = filepath.Join(dataDir, MasterKeyFile)
		if err := create(path); err != nil {
			return nil, fmt.Errorf("create master key: %w", err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, ErrMasterKey.With("why", err.Error())
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, ErrMasterKey.With("why", path+" is readable by others").WithHint("请执行 chmod 600 "+path, "run chmod 600 "+path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, ErrMasterKey.With("why", err.Error())
	}
	return Parse(string(text))
}

// create writes a new key file unless there is one; of several processes that start at once, one wins.
func create(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	key := make([]byte, keySize)
	rand.Read(key)
	tmp, err := os.CreateTemp(filepath.Dir(path), ".master-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, werr := tmp.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err := errors.Join(werr, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Parse reads master keys, one per line or separated by commas, the current one first.
func Parse(text string) (*Ring, error) {
	var keys [][]byte
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' || r == ',' || r == ' ' }) {
		key, err := base64.StdEncoding.DecodeString(line)
		if h, herr := hex.DecodeString(line); herr == nil && len(h) == keySize {
			key, err = h, nil
		}
		if err != nil || len(key) != keySize {
			return nil, ErrMasterKey.With("why", "a line is not 32 bytes in base64 or hex")
		}
		keys = append(keys, key)
	}
	return New(keys...)
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
	h := hmac.New(sha256.New, r.token)
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
