package config

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lianke/lianke/internal/fault"
)

// MasterKeySize is the length of the master key in bytes.
const MasterKeySize = 32

var (
	errMasterKey = fault.New(fault.Invalid, "config.master_key", "主密钥无效:{from}", "the master key in {from} is not valid").
			WithHint("需要 32 字节,十六进制或 base64", "it must be 32 bytes in hexadecimal or base64")
	errMasterKeyMode = fault.New(fault.Invalid, "config.master_key_mode", "主密钥文件 {file} 的权限过宽({mode})", "the master key file {file} can be read by others (mode {mode})").
				WithHint("请执行 chmod 600 {file}", "run: chmod 600 {file}")
)

// LoadMasterKey returns the key that wraps all keys of personal data: from LIANKE_MASTER_KEY, else from the key file. If
// the file is the default one and absent, it makes a key first; of two processes that do so at once one wins and both get
// its key. Losing this key loses the personal data, so `lianke backup` contains it.
func (c Config) LoadMasterKey() ([]byte, error) {
	if c.MasterKey != "" {
		return decodeKey(c.MasterKey, Prefix+"MASTER_KEY")
	}
	key, err := c.readKeyFile()
	if errors.Is(err, fs.ErrNotExist) && c.MasterKeyFile == filepath.Join(c.DataDir, "master.key") {
		if err := makeKeyFile(c.MasterKeyFile); err != nil {
			return nil, err
		}
		key, err = c.readKeyFile()
	}
	if err != nil {
		return nil, fmt.Errorf("read master key: %w", err)
	}
	return key, nil
}

func (c Config) readKeyFile() ([]byte, error) {
	info, err := os.Stat(c.MasterKeyFile)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, errMasterKeyMode.With("file", c.MasterKeyFile, "mode", info.Mode().Perm())
	}
	text, err := os.ReadFile(c.MasterKeyFile)
	if err != nil {
		return nil, err
	}
	return decodeKey(string(text), c.MasterKeyFile)
}

func decodeKey(text, from string) ([]byte, error) {
	text = strings.TrimSpace(text)
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString, base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if key, err := decode(text); err == nil && len(key) == MasterKeySize {
			return key, nil
		}
	}
	return nil, errMasterKey.With("from", from)
}

// makeKeyFile writes a new key beside the file and links it into place, so that the file appears whole or not at all and
// never replaces another.
func makeKeyFile(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o711); err != nil {
		return fmt.Errorf("make master key: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".master.key.*") // mode 0600
	if err != nil {
		return fmt.Errorf("make master key: %w", err)
	}
	defer os.Remove(tmp.Name())
	key := make([]byte, MasterKeySize)
	_, err = rand.Read(key)
	if err == nil {
		_, err = fmt.Fprintln(tmp, hex.EncodeToString(key))
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("make master key: %w", err)
	}
	if err := os.Link(tmp.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make master key: %w", err)
	}
	return nil
}
