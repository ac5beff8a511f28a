package sms

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const signAlgorithm = "ACS3-HMAC-SHA256"

// sign adds the V3 headers to a request whose body is empty: dysms takes its parameters in the query.
func sign(r *http.Request, accessKey, secret, action, version string, now time.Time) {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // crypto/rand does not fail
	payload := hexSHA256("")
	h := map[string]string{
		"host":                  r.URL.Host,
		"x-acs-action":          action,
		"x-acs-content-sha256":  payload,
		"x-acs-date":            now.UTC().Format("2006-01-02T15:04:05Z"),
		"x-acs-signature-nonce": hex.EncodeToString(nonce[:]),
		"x-acs-version":         version,
	}
	names := make([]string, 0, len(h))
	for name, value := range h {
		names = append(names, name)
		if name != "host" {
			r.Header.Set(name, value)
		}
	}
	slices.Sort(names)
	var headers strings.Builder
	for _, name := range names {
		headers.WriteString(name + ":" + h[name] + "\n")
	}
	signed := strings.Join(names, ";")
	canonical := strings.Join([]string{r.Method, "/", r.URL.RawQuery, headers.String(), signed, payload}, "\n")
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signAlgorithm + "\n" + hexSHA256(canonical)))
	r.Header.Set("Authorization", signAlgorithm+" Credential="+accessKey+",SignedHeaders="+signed+",Signature="+hex.EncodeToString(mac.Sum(nil)))
}

func hexSHA256(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// canonicalQuery is the query as it is signed and sent: sorted by name, encoded as RFC 3986 says.
func canonicalQuery(params map[string]string) string {
	parts := make([]string, 0, len(params))
	for k, v := range params {
		parts = append(parts, escape(k)+"="+escape(v))
	}
	slices.Sort(parts)
	return strings.Join(parts, "&")
}

var rfc3986 = strings.NewReplacer("+", "%20", "*", "%2A", "%7E", "~")

func escape(s string) string { return rfc3986.Replace(url.QueryEscape(s)) }
