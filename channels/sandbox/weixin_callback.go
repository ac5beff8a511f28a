package sandbox

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// callbackLadder is when WeChat tries again after a missing answer: three times in total, five seconds apart.
var callbackLadder = []time.Duration{5 * time.Second, 5 * time.Second}

func aesKey(encoded string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(encoded + "=")
	if err != nil || len(encoded) != 43 || len(key) != 32 {
		return nil, fmt.Errorf("sandbox: an EncodingAESKey has 43 characters of base64")
	}
	return key, nil
}

// encrypt wraps a message as WeChat does: random16 | length | message | appid, padded to blocks of 32, AES-256-CBC.
func encrypt(key, message []byte, appid string) string {
	plain := make([]byte, 20, 20+len(message)+len(appid)+32)
	_, _ = rand.Read(plain[:16])
	binary.BigEndian.PutUint32(plain[16:], uint32(len(message)))
	plain = append(append(plain, message...), appid...)
	pad := 32 - len(plain)%32
	plain = append(plain, bytes.Repeat([]byte{byte(pad)}, pad)...)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key's length was checked when the app was added
	}
	cipher.NewCBCEncrypter(block, key[:16]).CryptBlocks(plain, plain)
	return base64.StdEncoding.EncodeToString(plain)
}

// Sign is the signature of WeChat's callbacks: SHA-1 over the sorted, joined parts.
func Sign(parts ...string) string {
	slices.Sort(parts)
	sum := sha1.Sum([]byte(strings.Join(parts, "")))
	return hex.EncodeToString(sum[:])
}

// message is a callback before it is wrapped: fields in order, and at most one list.
type message struct {
	fields [][2]string
	list   string // name of the list's wrapper in XML
	items  []map[string]string
}

func (m message) xml() []byte {
	var b bytes.Buffer
	write := func(k, v string) {
		if _, err := strconv.ParseInt(v, 10, 64); err == nil && k != "FromUserName" && k != "EventKey" && k != "Content" {
			fmt.Fprintf(&b, "<%s>%s</%s>", k, v, k)
		} else {
			fmt.Fprintf(&b, "<%s><![CDATA[%s]]></%s>", k, strings.ReplaceAll(v, "]]>", "]]]]><![CDATA[>"), k)
		}
	}
	b.WriteString("<xml>")
	for _, f := range m.fields {
		write(f[0], f[1])
	}
	if m.list != "" {
		fmt.Fprintf(&b, "<%s>", m.list)
		for _, item := range m.items {
			b.WriteString("<List>")
			for _, k := range slices.Sorted(maps.Keys(item)) {
				write(k, item[k])
			}
			b.WriteString("</List>")
		}
		fmt.Fprintf(&b, "</%s>", m.list)
	}
	b.WriteString("</xml>")
	return b.Bytes()
}

// json is the other form mini-programs may choose. A list of one is an object, as WeChat writes it.
func (m message) json() []byte {
	out := map[string]any{}
	for _, f := range m.fields {
		out[f[0]] = f[1]
		if f[0] == "CreateTime" {
			out[f[0]], _ = strconv.ParseInt(f[1], 10, 64)
		}
	}
	switch len(m.items) {
	case 0:
	case 1:
		out["List"] = m.items[0]
	default:
		out["List"] = m.items
	}
	body, _ := json.Marshal(out) // strings only
	return body
}

// event sends an event of a person to the app's receiver. The caller holds the lock.
func (s *Server) event(a *app, openid, event string, fields map[string]string) {
	s.push(a, openid, "event", append([][2]string{{"Event", event}}, pairs(fields)...), 0, "", nil)
}

// listEvent sends an event with a list, dated some seconds ahead. The caller holds the lock.
func (s *Server) listEvent(a *app, openid, event string, ahead int, wrapper string, items []map[string]string) {
	s.push(a, openid, "event", [][2]string{{"Event", event}}, ahead, wrapper, items)
}

func pairs(m map[string]string) [][2]string {
	var out [][2]string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, [2]string{k, m[k]})
	}
	return out
}

// push queues a callback. The caller holds the lock.
func (s *Server) push(a *app, openid, msgType string, fields [][2]string, ahead int, list string, items []map[string]string) {
	if a.Callback == "" {
		return
	}
	m := message{fields: append([][2]string{
		{"ToUserName", a.Original}, {"FromUserName", openid}, {"CreateTime", strconv.FormatInt(s.now().Unix()+int64(ahead), 10)}, {"MsgType", msgType},
	}, fields...), list: list, items: items}
	body := m.xml()
	if a.JSON {
		body = m.json()
	}
	app := a.App
	due, lane := s.now(), openid
	f := s.takeFaultLocked("callback " + a.AppID)
	swallow := false
	if f != nil {
		switch f.Kind {
		case FaultReorder:
			due, lane = due.Add(2*time.Second), lane+"/late"
		case FaultDuplicate:
			s.queue.add(&delivery{due: due, lane: lane, do: func(ctx context.Context) bool { return s.callback(ctx, app, openid, body) }})
		case FaultSwallowAck:
			swallow = true
		}
	}
	s.queue.add(&delivery{due: due, lane: lane, ladder: callbackLadder, do: func(ctx context.Context) bool {
		ok := s.callback(ctx, app, openid, body)
		if swallow {
			swallow = false
			return false
		}
		return ok
	}})
}

// callback delivers a message once; true means the receiver acknowledged it.
func (s *Server) callback(ctx context.Context, a App, openid string, body []byte) bool {
	timestamp, nonce := strconv.FormatInt(s.Now().Unix(), 10), newToken("n")[2:12]
	q := url.Values{"signature": {Sign(a.Token, timestamp, nonce)}, "timestamp": {timestamp}, "nonce": {nonce}, "openid": {openid}}
	if a.Mode != ModePlain {
		key, err := aesKey(a.AESKey)
		if err != nil {
			return false
		}
		cipherText := encrypt(key, body, a.AppID)
		q.Set("encrypt_type", "aes")
		q.Set("msg_signature", Sign(a.Token, timestamp, nonce, cipherText))
		body = wrap(a, body, cipherText)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.Callback+"?"+q.Encode(), bytes.NewReader(body))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "text/xml")
	if a.JSON {
		req.Header.Set("Content-Type", "application/json")
	}
	e := Exchange{At: s.Now(), Route: "callback " + a.AppID, Query: q.Encode(), Request: string(body)}
	e.Status, e.Response = s.call(req)
	s.keep(e)
	return e.Status == http.StatusOK && (e.Response == "success" || e.Response == "" || strings.HasPrefix(e.Response, "<xml>"))
}

// wrap puts the ciphertext into the envelope; compatibility mode keeps the plain fields beside it.
func wrap(a App, plain []byte, cipherText string) []byte {
	if a.JSON {
		out := map[string]any{}
		if a.Mode == ModeCompat {
			_ = json.Unmarshal(plain, &out)
		}
		out["ToUserName"], out["Encrypt"] = a.Original, cipherText
		body, _ := json.Marshal(out)
		return body
	}
	if a.Mode == ModeCompat {
		return append(bytes.TrimSuffix(plain, []byte("</xml>")), "<Encrypt><![CDATA["+cipherText+"]]></Encrypt></xml>"...)
	}
	return []byte("<xml><ToUserName><![CDATA[" + a.Original + "]]></ToUserName><Encrypt><![CDATA[" + cipherText + "]]></Encrypt></xml>")
}

// call makes a request towards lianke and returns status and body; 0 when nothing came back.
func (s *Server) call(req *http.Request) (int, string) {
	res, err := s.outgoing.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(body)
}

// VerifyCallback plays the check that the console makes when a callback address is saved.
func (s *Server) VerifyCallback(ctx context.Context, appid string) error {
	s.mu.Lock()
	a := s.apps[appid]
	s.mu.Unlock()
	if a == nil {
		return fmt.Errorf("sandbox: no app %q", appid)
	}
	timestamp, nonce, echo := strconv.FormatInt(s.Now().Unix(), 10), newToken("n")[2:12], newToken("echo")[:20]
	q := url.Values{"signature": {Sign(a.Token, timestamp, nonce)}, "timestamp": {timestamp}, "nonce": {nonce}, "echostr": {echo}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.Callback+"?"+q.Encode(), nil)
	if err != nil {
		return fmt.Errorf("sandbox: verify callback: %w", err)
	}
	if status, body := s.call(req); status != http.StatusOK || body != echo {
		return fmt.Errorf("sandbox: verify callback: got %d %q", status, body)
	}
	return nil
}
