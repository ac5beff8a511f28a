// Package providers_test holds official client libraries from npm against the sandbox and the callback receivers.
package providers_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels"
	"github.com/lianke/lianke/channels/provider"
	"github.com/lianke/lianke/channels/sandbox"
	"github.com/lianke/lianke/channels/wechat"
	"github.com/lianke/lianke/internal/clock"
)

// node runs a script of this folder and decodes the JSON it prints. The exact packages are in package-lock.json.
func node(t *testing.T, script string, env map[string]string, out any) {
	t.Helper()
	if _, err := os.Stat("node_modules/.package-lock.json"); err != nil {
		install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
		text, err := install.CombinedOutput()
		require.NoError(t, err, "npm ci: %s", text)
	}
	cmd := exec.CommandContext(t.Context(), "node", script)
	cmd.Env = os.Environ()
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	require.NoError(t, json.Unmarshal(text, out), "%s", text)
}

func start(t *testing.T) (*sandbox.Server, string) {
	t.Helper()
	s, err := sandbox.Start(sandbox.Options{Manual: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, s.CA(), 0o600))
	return s, ca
}

// TestAliyunOfficialClient: the sandbox accepts what Aliyun's own client signs, and refuses it with a wrong secret.
func TestAliyunOfficialClient(t *testing.T) {
	s, ca := start(t)
	require.NoError(t, s.AddSMSAccount(sandbox.SMSAccount{
		AccessKey: "LTAI-node", Secret: "sk", Signs: []string{"连客"},
		Template: map[string]sandbox.SMSTemplate{"SMS_1": {Text: "${name}您好,券${code} ${url} 拒收请回复R", Kind: "marketing"}},
	}))
	var got struct{ Code, BizID, Refused string }
	node(t, "sms.mjs", map[string]string{
		"SANDBOX_HTTPS": s.Route().HTTPS, "NODE_EXTRA_CA_CERTS": ca, "ACCESS_KEY": "LTAI-node", "SECRET": "sk",
	}, &got)
	require.Equal(t, "OK", got.Code)
	require.Equal(t, "SignatureDoesNotMatch", got.Refused)
	sent := s.Sends("sms")
	require.Len(t, sent, 1)
	require.Equal(t, "node-1", sent[0].Key)
	require.Equal(t, got.BizID, sent[0].ProviderID)
	require.Equal(t, "王小明 & +~*", sent[0].Fields["name"])
}

type inbox struct{ inbound []channels.Inbound }

func (i *inbox) Receipts(context.Context, []channels.Receipt) error { return nil }

func (i *inbox) Inbound(_ context.Context, items []channels.Inbound) error {
	i.inbound = append(i.inbound, items...)
	return nil
}

// TestTencentCrypto: our receiver takes an envelope made by Tencent's own package, and that package opens the sandbox's.
func TestTencentCrypto(t *testing.T) {
	const aesKey = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	s, _ := start(t)
	network, err := provider.Open(s.Route())
	require.NoError(t, err)
	in := &inbox{}
	receiver, err := wechat.NewCallback(
		wechat.Config{Account: "brand", AppID: "wxinterop", AppSecret: "s", Token: "tok", AESKey: aesKey}, in,
		wechat.Deps{Client: network.Client(), Clock: clock.System{}, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	server := httptest.NewServer(receiver)
	t.Cleanup(server.Close)
	require.NoError(t, s.AddApp(sandbox.App{AppID: "wxinterop", Secret: "s", Token: "tok", AESKey: aesKey, Mode: sandbox.ModeSafe, Callback: server.URL}))
	s.AddPerson(sandbox.Person{ID: "p"})
	require.NoError(t, s.Follow("p", "wxinterop", "门店"))
	s.Pump(t.Context())
	require.Len(t, in.inbound, 1)
	pushed := s.Exchanges("callback wxinterop")[0].Request
	sealed := regexp.MustCompile(`<Encrypt><!\[CDATA\[(.+)\]\]></Encrypt>`).FindStringSubmatch(pushed)
	require.NotNil(t, sealed)

	timestamp, message := strconv.FormatInt(time.Now().Unix(), 10), `<xml><FromUserName>oNode</FromUserName><CreateTime>1793000000</CreateTime><MsgType>text</MsgType><Content><![CDATA[你好 & <b>]]></Content><MsgId>77</MsgId></xml>`
	var got struct {
		Encrypted, Signature string
		Opened               struct{ Message, ID string }
	}
	node(t, "callback.mjs", map[string]string{
		"AES_KEY": aesKey, "TOKEN": "tok", "RECEIVER": "wxinterop", "TIMESTAMP": timestamp, "NONCE": "n1", "MESSAGE": message, "SEALED": sealed[1],
	}, &got)
	require.Contains(t, got.Opened.Message, "qrscene_门店")
	require.Equal(t, "wxinterop", got.Opened.ID)

	// The plain signature over token, timestamp and nonce is what the receiver checks first; the sandbox makes it.
	q := url.Values{
		"timestamp": {timestamp}, "nonce": {"n1"}, "encrypt_type": {"aes"}, "msg_signature": {got.Signature},
		"signature": {sandbox.Sign("tok", timestamp, "n1")},
	}
	body := "<xml><ToUserName>gh</ToUserName><Encrypt><![CDATA[" + got.Encrypted + "]]></Encrypt></xml>"
	res, err := http.Post(server.URL+"?"+q.Encode(), "text/xml", strings.NewReader(body))
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Len(t, in.inbound, 2)
	require.Equal(t, "你好 & <b>", in.inbound[1].Value)
}
