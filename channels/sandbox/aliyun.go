package sandbox

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/clock"
)

// SMSAccount is an access key of the short-message service with what it may send.
type SMSAccount struct {
	AccessKey  string                 `json:"access_key"`
	Secret     string                 `json:"secret"`
	Signs      []string               `json:"signs"`    // approved signatures; none = every one
	Template   map[string]SMSTemplate `json:"template"` // by TemplateCode; nil = every one
	ReceiptURL string                 `json:"receipt_url"`
	ReplyURL   string                 `json:"reply_url"`
	Balance    *int                   `json:"balance"` // messages left; nil = no end
}

// SMSTemplate is an approved template.
type SMSTemplate struct {
	Text string `json:"text"` // with ${name} slots
	Kind string `json:"kind"` // verify, notice, marketing
}

type smsAccount struct {
	SMSAccount
	nonces   map[string]time.Time
	pending  []map[string]any // receipts not pushed yet
	flushing bool
	details  map[string][]map[string]any // phone → QuerySendDetails rows
	replies  int
}

// phoneState is what the network knows about a number.
type phoneState struct {
	sends    []smsSend
	optedOut map[string]bool // signature
	last     smsSend
}

type smsSend struct {
	at      time.Time
	account *smsAccount
	sign    string
	kind    string
	code    string
}

// AddSMSAccount creates an account or changes its settings.
func (s *Server) AddSMSAccount(a SMSAccount) error {
	if a.AccessKey == "" || a.Secret == "" {
		return fmt.Errorf("sandbox: a short-message account needs access_key and secret")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.sms[a.AccessKey]; old != nil {
		old.SMSAccount = a
		return nil
	}
	s.sms[a.AccessKey] = &smsAccount{SMSAccount: a, nonces: map[string]time.Time{}, details: map[string][]map[string]any{}}
	return nil
}

func (s *Server) aliyunRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST dysmsapi.aliyuncs.com/{$}", s.aliyun)
	mux.HandleFunc("GET dysmsapi.aliyuncs.com/{$}", s.aliyun)
}

func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16]))
}

func writeAliyun(w http.ResponseWriter, status int, v map[string]any) {
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// gatewayError is refused before the service sees it: signature, time, key.
type gatewayError struct {
	status        int
	code, message string
}

func (e gatewayError) write(w http.ResponseWriter) {
	writeAliyun(w, e.status, map[string]any{
		"Code": e.code, "Message": e.message, "RequestId": requestID(), "HostId": "dysmsapi.aliyuncs.com",
		"Recommend": "https://api.aliyun.com/troubleshoot?q=" + e.code,
	})
}

var authorization = regexp.MustCompile(`^ACS3-HMAC-SHA256 Credential=([^,]+),\s*SignedHeaders=([^,]+),\s*Signature=([0-9a-f]+)$`)

// clockSkew is how far x-acs-date may be off.
const clockSkew = 15 * time.Minute

// verifyACS3 checks the V3 signature exactly as the gateway does. The caller holds the lock.
func (s *Server) verifyACS3(r *http.Request, body []byte) (*smsAccount, *gatewayError) {
	m := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return nil, &gatewayError{400, "MissingAuthorization", "The Authorization header is missing or malformed."}
	}
	a := s.sms[m[1]]
	if a == nil {
		return nil, &gatewayError{404, "InvalidAccessKeyId.NotFound", "Specified access key is not found."}
	}
	at, err := time.Parse("2006-01-02T15:04:05Z", r.Header.Get("x-acs-date"))
	now := s.now()
	if err != nil || at.Sub(now).Abs() > clockSkew {
		return nil, &gatewayError{400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired."}
	}
	signed := strings.Split(m[2], ";")
	for _, must := range []string{"host", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"} {
		if !slices.Contains(signed, must) {
			return nil, &gatewayError{400, "IncompleteSignature", "The request signature does not cover " + must + "."}
		}
	}
	sum := sha256.Sum256(body)
	if r.Header.Get("x-acs-content-sha256") != hex.EncodeToString(sum[:]) {
		return nil, &gatewayError{400, "SignatureDoesNotMatch", "x-acs-content-sha256 does not match the body."}
	}
	var headers strings.Builder
	for _, h := range signed {
		v := r.Header.Get(h)
		if h == "host" {
			v = r.Host
		}
		headers.WriteString(h + ":" + strings.TrimSpace(v) + "\n")
	}
	canonical := strings.Join([]string{
		r.Method, r.URL.EscapedPath(), canonicalQuery(r.URL.Query()), headers.String(), m[2], hex.EncodeToString(sum[:]),
	}, "\n")
	hashed := sha256.Sum256([]byte(canonical))
	mac := hmac.New(sha256.New, []byte(a.Secret))
	mac.Write([]byte("ACS3-HMAC-SHA256\n" + hex.EncodeToString(hashed[:])))
	if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(mac.Sum(nil))), []byte(m[3])) != 1 {
		return nil, &gatewayError{400, "SignatureDoesNotMatch", "Specified signature is not matched with our calculation. server string to sign is:ACS3-HMAC-SHA256\n" + hex.EncodeToString(hashed[:])}
	}
	nonce := r.Header.Get("x-acs-signature-nonce")
	for n, used := range a.nonces {
		if now.Sub(used) > 2*clockSkew {
			delete(a.nonces, n)
		}
	}
	if _, used := a.nonces[nonce]; used || nonce == "" {
		return nil, &gatewayError{400, "SignatureNonceUsed", "The request signature nonce has been used."}
	}
	a.nonces[nonce] = now
	return a, nil
}

// canonicalQuery sorts by key and encodes as RFC 3986 does.
func canonicalQuery(q url.Values) string {
	var parts []string
	for k, vs := range q {
		for _, v := range vs {
			parts = append(parts, rfc3986(k)+"="+rfc3986(v))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, "&")
}

func rfc3986(s string) string {
	return strings.NewReplacer("+", "%20", "*", "%2A", "%7E", "~").Replace(url.QueryEscape(s))
}

func (s *Server) aliyun(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		gatewayError{400, "InvalidRequest", "unreadable body"}.write(w)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, bad := s.verifyACS3(r, body)
	if bad != nil {
		bad.write(w)
		return
	}
	in := r.URL.Query()
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		form, err := url.ParseQuery(string(body))
		if err == nil {
			for k, v := range form {
				in[k] = v
			}
		}
	}
	if v := r.Header.Get("x-acs-version"); v != "2017-05-25" {
		gatewayError{400, "InvalidVersion", "Specified parameter Version is not valid."}.write(w)
		return
	}
	switch r.Header.Get("x-acs-action") {
	case "SendSms":
		s.sendSMS(w, a, in)
	case "QuerySendDetails":
		s.querySMS(w, a, in)
	default:
		gatewayError{404, "InvalidAction.NotFound", "Specified api is not found, please check your url and method."}.write(w)
	}
}

var (
	mobile = regexp.MustCompile(`^(\+?86)?1[3-9]\d{9}$`)
	slot   = regexp.MustCompile(`\$\{(\w+)\}`)
)

// service errors: HTTP 200 with a code.
func smsError(w http.ResponseWriter, code, text string) {
	writeAliyun(w, http.StatusOK, map[string]any{"Code": code, "Message": text, "RequestId": requestID()})
}

func (s *Server) sendSMS(w http.ResponseWriter, a *smsAccount, in url.Values) {
	phones := strings.Split(in.Get("PhoneNumbers"), ",")
	template, known := a.Template[in.Get("TemplateCode")]
	var params map[string]any
	switch {
	case len(phones) > 1000:
		smsError(w, "isv.MOBILE_COUNT_OVER_LIMIT", "手机号码数量超过限制")
		return
	case in.Get("SignName") == "" || len(a.Signs) > 0 && !slices.Contains(a.Signs, in.Get("SignName")):
		smsError(w, "isv.SMS_SIGNATURE_ILLEGAL", "该账号下找不到对应签名")
		return
	case in.Get("TemplateCode") == "" || a.Template != nil && !known:
		smsError(w, "isv.SMS_TEMPLATE_ILLEGAL", "该账号下找不到对应模板")
		return
	case in.Get("TemplateParam") != "" && json.Unmarshal([]byte(in.Get("TemplateParam")), &params) != nil:
		smsError(w, "isv.INVALID_JSON_PARAM", "参数格式错误,请修改为字符串值")
		return
	case a.Balance != nil && *a.Balance < len(phones):
		smsError(w, "isv.AMOUNT_NOT_ENOUGH", "账户余额不足")
		return
	}
	text := template.Text
	for _, m := range slot.FindAllStringSubmatch(template.Text, -1) {
		v, ok := params[m[1]]
		if !ok {
			smsError(w, "isv.TEMPLATE_MISSING_PARAMETERS", "模板变量缺少对应参数值")
			return
		}
		text = strings.ReplaceAll(text, m[0], fmt.Sprint(v))
	}
	now := s.now()
	for _, p := range phones {
		if !mobile.MatchString(p) {
			smsError(w, "isv.MOBILE_NUMBER_ILLEGAL", "非法手机号")
			return
		}
		if limit := s.phone(p).limited(in.Get("SignName"), in.Get("TemplateCode"), template.Kind, now); limit != "" {
			smsError(w, "isv.BUSINESS_LIMIT_CONTROL", limit)
			return
		}
	}
	s.seq++
	biz := fmt.Sprintf("%d%06d^0", now.UnixMilli(), s.seq%1_000_000)
	for _, p := range phones {
		sent := Sent{
			At: now, Provider: "sms", Account: a.AccessKey, To: p, Key: in.Get("OutId"), ProviderID: biz,
			Template: in.Get("TemplateCode"), Subject: in.Get("SignName"), Fields: stringFields(params),
		}
		if err := s.ledger.add(sent); err != nil {
			smsError(w, "isp.SYSTEM_ERROR", "系统错误")
			return
		}
		if a.Balance != nil {
			*a.Balance--
		}
		send := smsSend{now, a, in.Get("SignName"), template.Kind, in.Get("TemplateCode")}
		st := s.phone(p)
		st.sends, st.last = append(st.sends, send), send
		s.finishSMS(a, sent, text, template.Kind)
	}
	writeAliyun(w, http.StatusOK, map[string]any{"Code": "OK", "Message": "OK", "BizId": biz, "RequestId": requestID()})
}

func stringFields(params map[string]any) map[string]string {
	m := make(map[string]string, len(params))
	for k, v := range params {
		m[k] = fmt.Sprint(v)
	}
	return m
}

// phone returns the state of a number without its country code. The caller holds the lock.
func (s *Server) phone(number string) *phoneState {
	number = strings.TrimPrefix(strings.TrimPrefix(number, "+"), "86")
	st := s.phones[number]
	if st == nil {
		st = &phoneState{optedOut: map[string]bool{}}
		s.phones[number] = st
	}
	return st
}

// limited applies the limits per number; the text says which one was hit.
func (p *phoneState) limited(sign, template, kind string, now time.Time) string {
	p.sends = slices.DeleteFunc(p.sends, func(x smsSend) bool { return now.Sub(x.at) >= 24*time.Hour })
	var minute, hour, day, same int
	for _, x := range p.sends {
		if x.code == template && x.sign == sign {
			same++
		}
		if x.kind == "verify" && x.sign == sign {
			day++
			if now.Sub(x.at) < time.Hour {
				hour++
			}
			if now.Sub(x.at) < time.Minute {
				minute++
			}
		}
	}
	switch {
	case len(p.sends) >= 40:
		return "触发号码天级流控Permits:40"
	case kind == "verify" && minute >= 1:
		return "触发分钟级流控Permits:1"
	case kind == "verify" && hour >= 5:
		return "触发小时级流控Permits:5"
	case kind == "verify" && day >= 10:
		return "触发天级流控Permits:10"
	case kind != "verify" && same >= 50:
		return "触发天级流控Permits:50"
	}
	return ""
}

// finishSMS delivers the message to the handset, and lets the member react.
func (s *Server) finishSMS(a *smsAccount, sent Sent, text, kind string) {
	row := map[string]any{
		"PhoneNum": sent.To, "SendStatus": 1, "ErrCode": "", "TemplateCode": sent.Template, "Content": "【" + sent.Subject + "】" + text,
		"SendDate": shanghai(sent.At), "ReceiveDate": "", "OutId": sent.Key, "BizId": sent.ProviderID,
	}
	a.details[sent.To] = append(a.details[sent.To], row)
	wait := 2*time.Second + time.Duration(s.draw(sent, "receipt")*float64(5*time.Second))
	s.schedule(wait, sent.To, func(context.Context) {
		s.mu.Lock()
		code, message, ok := "DELIVERED", "用户接收成功", true
		switch {
		case kind == "marketing" && s.phone(sent.To).optedOut[sent.Subject]:
			code, message, ok = "REJECTED", "用户已退订", false
		case s.reacts(sent, "fail"):
			code, message, ok = "UNDELIV", "空号或关机", false
		}
		row["SendStatus"], row["ErrCode"], row["ReceiveDate"] = 3, code, shanghai(s.now())
		if !ok {
			row["SendStatus"] = 2
		}
		s.receipt(a, map[string]any{
			"phone_number": sent.To, "send_time": shanghai(sent.At), "report_time": shanghai(s.now()), "success": ok,
			"err_code": code, "err_msg": message, "sms_size": strconv.Itoa(1 + len([]rune(text))/67), "biz_id": sent.ProviderID, "out_id": sent.Key,
		})
		s.mu.Unlock()
		if ok {
			s.react(sent, "", reading{urls: links(text, sent.Fields)})
		}
	})
}

func shanghai(t time.Time) string { return t.In(clock.Shanghai).Format("2006-01-02 15:04:05") }

func (s *Server) querySMS(w http.ResponseWriter, a *smsAccount, in url.Values) {
	rows := []map[string]any{}
	day := in.Get("SendDate")
	for _, row := range a.details[in.Get("PhoneNumber")] {
		sent := strings.ReplaceAll(fmt.Sprint(row["SendDate"]), "-", "")
		if strings.HasPrefix(sent, day) && (in.Get("BizId") == "" || in.Get("BizId") == row["BizId"]) {
			rows = append(rows, row)
		}
	}
	total := len(rows)
	size, _ := strconv.Atoi(in.Get("PageSize"))
	page, _ := strconv.Atoi(in.Get("CurrentPage"))
	if size < 1 || size > 50 || page < 1 {
		smsError(w, "isv.INVALID_PARAMETERS", "参数异常")
		return
	}
	rows = rows[min((page-1)*size, total):min(page*size, total)]
	writeAliyun(w, http.StatusOK, map[string]any{
		"Code": "OK", "Message": "OK", "RequestId": requestID(), "TotalCount": total,
		"SmsSendDetailDTOs": map[string]any{"SmsSendDetailDTO": rows},
	})
}
