package wechat

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
)

// Errors of the envelope. They name the check that failed and nothing of the content.
var (
	errSignature = errors.New("wechat callback: signature mismatch")
	errEnvelope  = errors.New("wechat callback: malformed envelope")
	errCipher    = errors.New("wechat callback: cannot decrypt")
	errAppID     = errors.New("wechat callback: encrypted for another appid")
	errDoctype   = errors.New("wechat callback: document types are not accepted")
)

// sign is WeChat's signature: SHA-1 over the sorted, joined parts.
func sign(parts ...string) string {
	slices.Sort(parts)
	h := sha1.New()
	for _, p := range parts {
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// signed compares in constant time. An empty token never verifies.
func signed(signature, token string, parts ...string) bool {
	if token == "" || len(signature) != 2*sha1.Size {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(signature), []byte(sign(append(parts, token)...))) == 1
}

// decodeKey reads an EncodingAESKey.
func decodeKey(encoded string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(encoded + "=")
	if err != nil || len(encoded) != 43 || len(key) != 32 {
		return nil, errors.New("wechat: an EncodingAESKey has 43 characters of base64")
	}
	return key, nil
}

// ciphertext finds the Encrypt element of an envelope, in XML or JSON, without parsing the rest: the envelope is not
// trusted before its signature is checked.
func ciphertext(body []byte) (string, error) {
	if bytes.HasPrefix(bytes.TrimLeft(body, " \r\n\t"), []byte("{")) {
		var in struct{ Encrypt string }
		if json.Unmarshal(body, &in) != nil || in.Encrypt == "" {
			return "", errEnvelope
		}
		return in.Encrypt, nil
	}
	_, rest, ok := bytes.Cut(body, []byte("<Encrypt>"))
	if !ok {
		return "", errEnvelope
	}
	value, after, ok := bytes.Cut(rest, []byte("</Encrypt>"))
	if !ok || bytes.Contains(after, []byte("<Encrypt>")) {
		return "", errEnvelope
	}
	value = bytes.TrimSpace(value)
	if inner, ok := bytes.CutPrefix(value, []byte("<![CDATA[")); ok {
		if value, ok = bytes.CutSuffix(inner, []byte("]]>")); !ok {
			return "", errEnvelope
		}
	}
	if len(value) == 0 || bytes.ContainsAny(value, "<>&]") {
		return "", errEnvelope
	}
	return string(value), nil
}

// decrypt opens a ciphertext: random16 | length | message | appid, padded to 32, AES-256-CBC with the key's first half
// as initialisation vector. The signature over the ciphertext has been verified before, so padding tells nobody anything.
func decrypt(key []byte, encoded, appid string) ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(data) < 32 || len(data)%aes.BlockSize != 0 {
		return nil, errCipher
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errCipher
	}
	cipher.NewCBCDecrypter(block, key[:16]).CryptBlocks(data, data)
	pad := int(data[len(data)-1])
	if pad < 1 || pad > 32 || pad > len(data)-20 {
		return nil, errCipher
	}
	for _, b := range data[len(data)-pad:] {
		if int(b) != pad {
			return nil, errCipher
		}
	}
	data = data[:len(data)-pad]
	n := uint64(binary.BigEndian.Uint32(data[16:20]))
	if n > uint64(len(data)-20) {
		return nil, errCipher
	}
	message, receiver := data[20:20+n], data[20+n:]
	if subtle.ConstantTimeCompare(receiver, []byte(appid)) != 1 {
		return nil, errAppID
	}
	return message, nil
}
