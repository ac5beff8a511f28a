package wechat

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/lianke/lianke/channels"
)

// event is a decoded callback: its flat fields, and the entries of its list if it has one.
type event struct {
	fields map[string]string
	list   []map[string]string
}

// The bounds of a callback. WeChat's own are far below them.
const (
	maxDepth  = 8
	maxFields = 200

	minSeconds = 946_684_800   // 2000-01-01
	maxSeconds = 4_102_444_800 // 2100-01-01
)

// decodeEvent reads the decrypted message, XML or JSON.
func decodeEvent(data []byte) (event, error) {
	if bytes.HasPrefix(bytes.TrimLeft(data, " \r\n\t"), []byte("{")) {
		return decodeJSON(data)
	}
	return decodeXML(data)
}

// decodeXML reads <xml> with flat children; elements named List anywhere below become list entries. Custom entities and
// document types are refused.
func decodeXML(data []byte) (event, error) {
	e := event{fields: map[string]string{}}
	d := xml.NewDecoder(bytes.NewReader(data))
	var (
		path []string
		text strings.Builder
		item map[string]string
		seen int
	)
	for {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return event{}, errEnvelope
		}
		switch t := token.(type) {
		case xml.Directive:
			return event{}, errDoctype
		case xml.StartElement:
			path = append(path, t.Name.Local)
			if seen++; len(path) > maxDepth || seen > maxFields {
				return event{}, errEnvelope
			}
			text.Reset()
			if t.Name.Local == "List" {
				item = map[string]string{}
			}
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			if len(path) == 0 || path[len(path)-1] != t.Name.Local {
				return event{}, errEnvelope
			}
			switch {
			case t.Name.Local == "List":
				e.list = append(e.list, item)
				item = nil
			case item != nil:
				item[t.Name.Local] = text.String()
			case len(path) == 2:
				if _, twice := e.fields[t.Name.Local]; twice {
					return event{}, errEnvelope
				}
				e.fields[t.Name.Local] = text.String()
			}
			path = path[:len(path)-1]
			text.Reset()
		}
	}
	if len(path) != 0 || len(e.fields) == 0 {
		return event{}, errEnvelope
	}
	return e, nil
}

// decodeJSON reads the form a mini-program may choose. One list entry comes as an object, several as an array.
func decodeJSON(data []byte) (event, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var in map[string]any
	if err := d.Decode(&in); err != nil || len(in) > maxFields {
		return event{}, errEnvelope
	}
	e := event{fields: map[string]string{}}
	flat := func(m map[string]any) map[string]string {
		out := map[string]string{}
		for k, v := range m {
			switch v.(type) {
			case string, json.Number, bool:
				out[k] = fmt.Sprint(v)
			}
		}
		return out
	}
	e.fields = flat(in)
	switch list := in["List"].(type) {
	case map[string]any:
		e.list = append(e.list, flat(list))
	case []any:
		if len(list) > maxFields {
			return event{}, errEnvelope
		}
		for _, item := range list {
			if m, ok := item.(map[string]any); ok {
				e.list = append(e.list, flat(m))
			}
		}
	}
	return e, nil
}

// news is what an event means to us.
type news struct {
	receipts []channels.Receipt
	inbound  []channels.Inbound
}

// interpret turns an event into receipts and inbound items; events we have no use for yield nothing.
func interpret(cfg Config, e event) (news, error) {
	f := e.fields
	seconds, err := strconv.ParseInt(f["CreateTime"], 10, 64)
	if err != nil || seconds < minSeconds || seconds > maxSeconds || f["FromUserName"] == "" || f["MsgType"] == "" {
		return news{}, errEnvelope
	}
	at := time.Unix(seconds, 0).UTC()
	// WeChat's rule: messages are told apart by MsgId, events by sender and second.
	item := channels.Inbound{
		Account: cfg.Account, At: at, From: channels.Key{NS: "wechat_openid", Scope: cfg.AppID, Value: f["FromUserName"]},
		DedupeKey: strings.Join([]string{f["FromUserName"], f["CreateTime"], f["MsgType"], f["Event"], f["EventKey"]}, "|"),
	}
	if id := f["MsgId"]; id != "" {
		item.DedupeKey = "msg|" + id
	}
	if u := f["UnionID"]; u != "" && cfg.Subject != "" {
		item.Also = []channels.Key{{NS: "wechat_unionid", Scope: cfg.Subject, Value: u}}
	}
	one := func(kind channels.InboundKind, value string) (news, error) {
		item.Kind, item.Value = kind, value
		return news{inbound: []channels.Inbound{item}}, nil
	}
	switch f["MsgType"] {
	case "text":
		return one(channels.InboundText, f["Content"])
	case "image", "voice", "video", "shortvideo":
		return one(channels.InboundMedia, f["MediaId"])
	case "event":
	default:
		return news{}, nil
	}
	switch f["Event"] {
	case "subscribe":
		return one(channels.InboundFollow, strings.TrimPrefix(f["EventKey"], "qrscene_"))
	case "unsubscribe":
		return one(channels.InboundUnfollow, "")
	case "SCAN":
		return one(channels.InboundScan, f["EventKey"])
	case "CLICK":
		return one(channels.InboundMenuClick, f["EventKey"])
	case "VIEW", "view_miniprogram":
		return one(channels.InboundMenuView, f["EventKey"])
	case "TEMPLATESENDJOBFINISH":
		return news{receipts: []channels.Receipt{templateReceipt(cfg, f, at)}}, nil
	case "subscribe_msg_popup_event", "subscribe_msg_change_event":
		return grants(e, item), nil
	case "subscribe_msg_sent_event":
		return news{receipts: sentReceipts(cfg, e, at)}, nil
	}
	return news{}, nil
}

func templateReceipt(cfg Config, f map[string]string, at time.Time) channels.Receipt {
	id := f["MsgID"] // this event spells it so, unlike messages
	if id == "" {
		id = f["MsgId"]
	}
	r := channels.Receipt{Account: cfg.Account, ProviderID: id, Kind: channels.ReceiptDelivered, Code: f["Status"], At: at}
	if status := strings.ReplaceAll(f["Status"], " ", ""); status != "success" {
		r.Kind, r.Reason = channels.ReceiptFailed, channels.ReasonBusy
		switch status {
		case "failed:userblock":
			r.Reason = channels.ReasonRefused
		case "failed:freqlimit":
			r.Reason = channels.ReasonRecipient
		}
	}
	return r
}

func grants(e event, base channels.Inbound) news {
	var n news
	for i, entry := range e.list {
		item := base
		item.Value = entry["TemplateId"]
		item.DedupeKey = fmt.Sprintf("%s|%d|%s|%s", base.DedupeKey, i, entry["TemplateId"], entry["SubscribeStatusString"])
		switch {
		case entry["SubscribeStatusString"] == "reject":
			item.Kind = channels.InboundSubscribeDeny
		case e.fields["Event"] == "subscribe_msg_popup_event" && entry["SubscribeStatusString"] == "accept":
			item.Kind = channels.InboundSubscribeGrant
		default:
			continue // a changed setting gives no grant by itself
		}
		n.inbound = append(n.inbound, item)
	}
	return n
}

func sentReceipts(cfg Config, e event, at time.Time) []channels.Receipt {
	var out []channels.Receipt
	for _, entry := range e.list {
		r := channels.Receipt{Account: cfg.Account, ProviderID: entry["MsgID"], Kind: channels.ReceiptDelivered, Code: entry["ErrorCode"], At: at}
		if entry["ErrorCode"] != "0" {
			r.Kind, r.Reason = channels.ReceiptFailed, channels.ReasonBusy
			if entry["ErrorCode"] == "43101" || entry["ErrorCode"] == "3" {
				r.Reason = channels.ReasonRefused
			}
		}
		out = append(out, r)
	}
	return out
}
