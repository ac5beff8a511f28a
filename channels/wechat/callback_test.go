package wechat

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/silenceper/wechat/v2/util"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/channels/sandbox"
)

// post hands a callback to the receiver directly.
func (b *bundle) post(query url.Values, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.callback.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/cb?"+query.Encode(), strings.NewReader(body)))
	return w
}

// sealed makes a correct envelope with the SDK's own crypto, a second implementation.
func (b *bundle) sealed(t *testing.T, message, appid string) (url.Values, string) {
	t.Helper()
	encrypted, err := util.EncryptMsg([]byte("0123456789abcdef"), []byte(message), appid, testAESKey)
	require.NoError(t, err)
	timestamp, nonce := fmt.Sprint(b.Now().Unix()), "nonce1"
	return url.Values{
		"timestamp": {timestamp}, "nonce": {nonce}, "encrypt_type": {"aes"},
		"signature":     {util.Signature("token", timestamp, nonce)},
		"msg_signature": {util.Signature("token", timestamp, nonce, string(encrypted))},
	}, "<xml><ToUserName><![CDATA[gh]]></ToUserName><Encrypt><![CDATA[" + string(encrypted) + "]]></Encrypt></xml>"
}

const followXML = `<xml><ToUserName>gh</ToUserName><FromUserName>oABC</FromUserName><CreateTime>1793000000</CreateTime><MsgType>event</MsgType><Event>subscribe</Event><EventKey>qrscene_store7</EventKey></xml>`

func TestCallback_EverythingAPersonDoes(t *testing.T) {
	t.Parallel()
	for _, mode := range []sandbox.Mode{sandbox.ModeSafe, sandbox.ModeCompat} {
		b := setup(t, func(a *sandbox.App) { a.Mode = mode })
		require.NoError(t, b.VerifyCallback(t.Context(), b.cfg.AppID))
		b.AddPerson(sandbox.Person{ID: "p2"})
		for _, do := range []error{
			b.Follow("p2", b.cfg.AppID, "store7"), b.Click("p2", b.cfg.AppID, "coupons"), b.Scan("p2", b.cfg.AppID, "shelf <&]]> 3"),
			b.Say("p2", b.cfg.AppID, "有 <b>新款</b> & 折扣吗 ]]>"), b.Unfollow("p2", b.cfg.AppID),
		} {
			require.NoError(t, do)
		}
		b.Pump(t.Context())
		var got []string
		for _, i := range b.inbox.inbound {
			require.Equal(t, channels.Key{NS: "wechat_openid", Scope: b.cfg.AppID, Value: sandbox.OpenID(b.cfg.AppID, "p2")}, i.From)
			got = append(got, string(i.Kind)+" "+i.Value)
		}
		require.Equal(t, []string{"follow store7", "menu_click coupons", "scan shelf <&]]> 3", "text 有 <b>新款</b> & 折扣吗 ]]>", "unfollow "}, got)
	}
}

func TestCallback_MiniProgramJSONListQuirk(t *testing.T) {
	t.Parallel()
	b := setup(t, mini, func(a *sandbox.App) { a.JSON = true })
	require.NoError(t, b.Grant("p1", b.cfg.AppID, "T1", 1)) // one entry: an object
	b.Pump(t.Context())
	require.Len(t, b.inbox.inbound, 1)
	e, err := decodeEvent([]byte(`{"CreateTime":1793000000,"MsgType":"event","Event":"subscribe_msg_popup_event","FromUserName":"o1","List":[{"TemplateId":"A","SubscribeStatusString":"accept"},{"TemplateId":"B","SubscribeStatusString":"reject"}]}`))
	require.NoError(t, err)
	n, err := interpret(b.cfg, e)
	require.NoError(t, err)
	require.Len(t, n.inbound, 2)
	require.Equal(t, channels.InboundSubscribeDeny, n.inbound[1].Kind)
}

func TestCallback_ProviderMisbehaves(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.AddPerson(sandbox.Person{ID: "p3"})
	b.Inject(sandbox.Fault{Route: "callback " + b.cfg.AppID, Kind: sandbox.FaultSwallowAck, Times: 1})
	require.NoError(t, b.Follow("p3", b.cfg.AppID, "x"))
	b.Pump(t.Context())
	b.Inject(sandbox.Fault{Route: "callback " + b.cfg.AppID, Kind: sandbox.FaultDuplicate, Times: 1})
	require.NoError(t, b.Click("p3", b.cfg.AppID, "k"))
	b.Advance(6 * time.Second) // the retry of the swallowed acknowledgement
	b.Pump(t.Context())
	require.Len(t, b.Exchanges("callback "+b.cfg.AppID), 4)
	require.Len(t, b.inbox.inbound, 2, "four deliveries, two facts")

	// A receiver that cannot store answers 503, and the provider comes back.
	b.inbox.fail = errors.New("database is down")
	require.NoError(t, b.Click("p3", b.cfg.AppID, "again"))
	b.Pump(t.Context())
	b.inbox.fail = nil
	b.Advance(6 * time.Second)
	b.Pump(t.Context())
	require.Len(t, b.inbox.inbound, 3)
}

func TestCallback_FlippedBytesAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	good, body := b.sealed(t, followXML, b.cfg.AppID)
	require.Equal(t, "success", b.post(good, body).Body.String())
	calls := b.inbox.calls

	for _, name := range []string{"signature", "msg_signature", "timestamp", "nonce"} {
		for i := range good.Get(name) {
			for _, bit := range []byte{1, 4} {
				v := []byte(good.Get(name))
				v[i] ^= bit
				bad := url.Values{}
				for k, x := range good {
					bad[k] = x
				}
				bad.Set(name, string(v))
				require.Equal(t, http.StatusForbidden, b.post(bad, body).Code, "%s[%d]", name, i)
			}
		}
		bad := url.Values{}
		for k, x := range good {
			bad[k] = x
		}
		bad.Del(name)
		require.Equal(t, http.StatusForbidden, b.post(bad, body).Code, "without %s", name)
	}
	start := strings.Index(body, "<Encrypt>") + len("<Encrypt><![CDATA[")
	end := strings.Index(body, "]]></Encrypt>")
	for i := start; i < end; i++ {
		flipped := []byte(body)
		flipped[i] ^= 1
		code := b.post(good, string(flipped)).Code
		require.Contains(t, []int{http.StatusForbidden, http.StatusBadRequest}, code)
	}
	require.Equal(t, calls, b.inbox.calls, "nothing reached the inbox")
}

func TestCallback_Refusals(t *testing.T) {
	t.Parallel()
	b := setup(t)
	good, body := b.sealed(t, followXML, b.cfg.AppID)

	plain := url.Values{"signature": good["signature"], "timestamp": good["timestamp"], "nonce": good["nonce"]}
	require.Equal(t, http.StatusForbidden, b.post(plain, followXML).Code, "a safe account takes no plain body")

	q, other := b.sealed(t, followXML, "wxother")
	require.Equal(t, http.StatusBadRequest, b.post(q, other).Code, "encrypted for another appid")

	require.Equal(t, http.StatusRequestEntityTooLarge, b.post(good, strings.Repeat("x", 10<<20)).Code)
	require.Equal(t, http.StatusBadRequest, b.post(good, "<xml></xml>").Code)

	bomb := `<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><xml><FromUserName>&b;</FromUserName></xml>`
	q, sealed := b.sealed(t, bomb, b.cfg.AppID)
	require.Equal(t, http.StatusBadRequest, b.post(q, sealed).Code, "entity bomb")
	q, sealed = b.sealed(t, strings.Repeat("<a>", 50_000), b.cfg.AppID)
	require.Equal(t, http.StatusBadRequest, b.post(q, sealed).Code, "deep nesting")

	old := fmt.Sprint(b.Now().Add(-11 * time.Minute).Unix())
	stale := url.Values{"timestamp": {old}, "nonce": {"n"}, "signature": {util.Signature("token", old, "n")}, "encrypt_type": {"aes"}, "msg_signature": good["msg_signature"]}
	require.Equal(t, http.StatusForbidden, b.post(stale, body).Code, "outside the time window")
	require.Zero(t, b.inbox.calls)

	_, err := NewCallback(Config{Account: "a", AppID: "b", Token: "c"}, b.inbox, b.deps)
	require.ErrorIs(t, err, ErrConfig, "no AES key and not declared plain")
}

func TestCallback_ReplayChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	good, body := b.sealed(t, followXML, b.cfg.AppID)
	for range 5 {
		require.Equal(t, "success", b.post(good, body).Body.String())
	}
	require.Len(t, b.inbox.inbound, 1)
	require.Equal(t, 1, b.inbox.calls)

	// After a restart the receiver has forgotten, the inbox has not.
	var err error
	b.callback, err = NewCallback(b.cfg, b.inbox, b.deps)
	require.NoError(t, err)
	require.Equal(t, "success", b.post(good, body).Body.String())
	require.Len(t, b.inbox.inbound, 1)
}

// TestLogs_HoldNoPersonalData keeps G8 closed: nothing that identifies a person, and no token, reaches any log.
func TestLogs_HoldNoPersonalData(t *testing.T) {
	stdout := os.Stdout
	r, w, err := os.Pipe()
	require.NoError(t, err)
	os.Stdout = w
	defer func() { os.Stdout = stdout }()
	b := setup(t)
	oa := b.official(t)
	b.Inject(sandbox.Fault{Route: b.route("/cgi-bin/message/template/send"), Kind: sandbox.FaultStatus, Code: 502, Times: 3})
	m := b.message(map[string]string{"thing1": "王小明"})
	b.deps.Log.Info("send", "message", m, "result", oa.Send(t.Context(), []channels.Outgoing{m}), "config", b.cfg)
	require.NoError(t, b.Say("p1", b.cfg.AppID, "我的电话 13800138000"))
	b.inbox.fail = errors.New("down")
	b.Pump(t.Context())
	require.NoError(t, w.Close())
	var printed bytes.Buffer
	_, err = printed.ReadFrom(r)
	require.NoError(t, err)
	all := b.logs.String() + printed.String()
	require.Contains(t, all, "wechat callback refused")
	for _, secret := range []string{b.openid(), "13800138000", "王小明", "secret", testAESKey, "stable_"} {
		require.NotContains(t, all, secret)
	}
}

func FuzzCiphertext(f *testing.F) {
	f.Add([]byte("<xml><Encrypt><![CDATA[abc=]]></Encrypt></xml>"))
	f.Add([]byte(`{"Encrypt":"abc="}`))
	f.Add([]byte("<Encrypt></Encrypt><Encrypt>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if v, err := ciphertext(data); err == nil && v == "" {
			t.Fatal("empty ciphertext accepted")
		}
	})
}

func FuzzDecrypt(f *testing.F) {
	key, err := decodeKey(testAESKey)
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := util.EncryptMsg([]byte("0123456789abcdef"), []byte(followXML), "wx1", testAESKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(sealed))
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, data string) { _, _ = decrypt(key, data, "wx1") })
}

// FuzzDecodeEvent holds the reader against encoding/xml's own struct decoding.
func FuzzDecodeEvent(f *testing.F) {
	f.Add([]byte(followXML))
	f.Add([]byte(`<xml><FromUserName><![CDATA[a]]></FromUserName><X><List><A>1</A></List><List><A>2</A></List></X></xml>`))
	f.Add([]byte(`{"FromUserName":"a","List":{"A":"1"}}`))
	f.Add([]byte(`<!DOCTYPE x><xml/>`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := decodeEvent(data)
		if err != nil || bytes.HasPrefix(bytes.TrimLeft(data, " \r\n\t"), []byte("{")) {
			return
		}
		_, _ = interpret(Config{Account: "a", AppID: "wx"}, e)
		var want struct {
			FromUserName string
		}
		if xml.Unmarshal(data, &want) == nil && !bytes.Contains(data, []byte("List")) && want.FromUserName != "" &&
			bytes.Count(data, []byte("FromUserName")) == 2 && bytes.Count(data, []byte("<")) == bytes.Count(data, []byte(">")) {
			if got, ok := e.fields["FromUserName"]; ok && got != want.FromUserName {
				t.Fatalf("read %q, encoding/xml reads %q", got, want.FromUserName)
			}
		}
	})
}

// BenchmarkCallback is a signed and encrypted callback from request to acknowledgement; the SDK's own path needs 85–97 µs.
func BenchmarkCallback(b *testing.B) {
	in := &inbox{keys: map[string]bool{}}
	cfg := Config{Account: "a", AppID: "wx1", AppSecret: "s", Token: "token", AESKey: testAESKey}
	now := time.Unix(1793000000, 0)
	c, err := NewCallback(cfg, in, Deps{Clock: fixed(now)})
	require.NoError(b, err)
	encrypted, err := util.EncryptMsg([]byte("0123456789abcdef"), []byte(followXML), "wx1", testAESKey)
	require.NoError(b, err)
	q := url.Values{"timestamp": {"1793000000"}, "nonce": {"n"}, "encrypt_type": {"aes"}, "signature": {util.Signature("token", "1793000000", "n")},
		"msg_signature": {util.Signature("token", "1793000000", "n", string(encrypted))}}
	body := "<xml><ToUserName>gh</ToUserName><Encrypt><![CDATA[" + string(encrypted) + "]]></Encrypt></xml>"
	address := "/cb?" + q.Encode()
	for b.Loop() {
		w := httptest.NewRecorder()
		c.ServeHTTP(w, httptest.NewRequest(http.MethodPost, address, strings.NewReader(body)))
		if w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}

type fixed time.Time

func (f fixed) Now() time.Time { return time.Time(f) }
