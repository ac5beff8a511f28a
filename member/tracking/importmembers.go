package tracking

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/identity"
)

// EnsureStores makes sure that the stores exist and returns the codes of those it had to invent; commerce/org does it.
type EnsureStores func(ctx context.Context, tx pgx.Tx, codes []string, now time.Time) ([]string, error)

// ImportMembers is the import kind "members": a row is one source system's record of one person, evidence that its
// identifiers belong together.
type ImportMembers struct {
	door   *capture.Door
	stores EnsureStores
}

// NewImportMembers returns the kind.
func NewImportMembers(door *capture.Door, stores EnsureStores) *ImportMembers {
	return &ImportMembers{door, stores}
}

// Name is the kind's name.
func (*ImportMembers) Name() string { return "members" }

// Columns are those of the import contract, and updated_at: when the source last changed the record.
func (*ImportMembers) Columns() []importer.Column {
	names := []string{
		"registered_at", "updated_at", "name", "gender", "birthday", "phone", "email", "card_no", "wechat_subject", "wechat_unionid", "wechat_appid", "wechat_openid",
		"wecom_corp", "wecom_external_userid", "weibo_uid", "tmall_shop", "tmall_ouid", "tmall_omid", "jd_shop", "jd_xid", "device_id", "province", "city",
		"home_store", "tags", "consent.", "attr.",
	}
	out := []importer.Column{{Name: "source", Required: true}, {Name: "source_id", Required: true}}
	for _, n := range names {
		c := importer.Column{Name: n}
		switch n {
		case "gender":
			c.Values = []string{"male", "female"}
		case "consent.":
			c.Values = []string{"granted", "denied"}
		}
		out = append(out, c)
	}
	return out
}

// record is a row of members.
type record struct {
	Source, SourceID string
	RegisteredAt     time.Time
	UpdatedAt        time.Time
	Name             string
	Keys             []identity.Key
	Attrs            map[string]any
	Tags             []string
	Consents         []capture.Consent
	Unusable         []string // columns whose identifier nobody can be known by: masked, malformed
}

// columns that hold identifiers: column, namespace, column of the scope.
var identifierColumns = [][3]string{
	{"phone", identity.NSPhone, ""}, {"email", identity.NSEmail, ""}, {"card_no", identity.NSCard, ""},
	{"wechat_unionid", identity.NSWeChatUnionID, "wechat_subject"}, {"wechat_openid", identity.NSWeChatOpenID, "wechat_appid"},
	{"wecom_external_userid", identity.NSWeComExternal, "wecom_corp"}, {"weibo_uid", identity.NSWeibo, ""},
	{"tmall_ouid", identity.NSTmallOUID, "tmall_shop"}, {"tmall_omid", identity.NSTmallOMID, ""}, {"jd_xid", identity.NSJDXID, "jd_shop"},
	{"device_id", identity.NSDevice, ""},
}

// Parse reads one record. An identifier that is masked or malformed is left out with a warning: shops export them so, and
// the person is one all the same. One without its scope is an error, because the file can say it.
func (*ImportMembers) Parse(f *importer.Fields) (string, any) {
	r := record{
		Source: f.Need("source"), SourceID: f.Need("source_id"), RegisteredAt: f.Time("registered_at"), UpdatedAt: f.Time("updated_at"), Name: f.Text("name"),
		Attrs: map[string]any{}, Tags: f.List("tags"),
	}
	own := identity.Key{NS: identity.NSSource, Scope: r.Source, Value: r.SourceID}
	if _, err := own.Normalise(); err != nil && r.Source != "" && r.SourceID != "" {
		f.Reject("source_id", "value", fault.Text{ZH: "不是可用的标识", EN: "is not usable as an identifier"},
			fault.Text{ZH: "请填写来源系统中的会员号", EN: "write the person's id in the source system"})
	}
	r.Keys = []identity.Key{own}
	for _, c := range identifierColumns {
		v := f.Text(c[0])
		if v == "" {
			continue
		}
		k := identity.Key{NS: c[1], Value: v}
		if c[2] != "" {
			if k.Scope = f.Text(c[2]); k.Scope == "" {
				f.Reject(c[2], "empty", fault.Text{ZH: "填写 " + c[0] + " 时不能为空", EN: "must not be empty beside " + c[0]},
					fault.Text{ZH: "请填写其所属的应用、主体或店铺", EN: "name the app, subject or shop it belongs to"})
				continue
			}
		}
		if _, err := k.Normalise(); err != nil {
			r.Unusable = append(r.Unusable, c[0])
			continue
		}
		r.Keys = append(r.Keys, k)
	}
	for name, v := range map[string]string{
		"gender": gender(f), "birthday": f.Date("birthday"), "province": f.Text("province"), "city": f.Text("city"), "home_store": f.Text("home_store"),
	} {
		if v != "" {
			r.Attrs[name] = v
		}
	}
	for name, v := range f.Family("attr.") {
		if r.Attrs["attr."+name] = v; len("attr."+name) > 64 {
			f.Reject("attr."+name, "name", fault.Text{ZH: "属性名过长", EN: "the name of the attribute is too long"},
				fault.Text{ZH: "列名连同 attr. 最多 64 字节,一个汉字占 3 字节", EN: "the column may have 64 bytes with attr., a Chinese character has 3"})
		}
	}
	for _, tag := range r.Tags {
		if len(tag) > 192 {
			f.Reject("tags", "too_long", fault.Text{ZH: "标签过长", EN: "a tag is too long"},
				fault.Text{ZH: "每个标签最多 64 个字,以 | 分隔", EN: "a tag may have 64 characters; separate tags with |"})
			break
		}
	}
	r.Consents = consents(f)
	return r.Source + "\x00" + r.SourceID, r
}

func gender(f *importer.Fields) string {
	switch v := strings.ToLower(f.Text("gender")); v {
	case "", "unknown", "未知", "保密", "u", "0":
		return ""
	case "male", "m", "男", "1", "先生":
		return "male"
	case "female", "f", "女", "2", "女士":
		return "female"
	default:
		f.Reject("gender", "value", fault.Text{ZH: "不是可识别的性别", EN: "is not a gender"}, fault.Text{ZH: "请写作 male、female 或留空", EN: "write male, female or nothing"})
		return ""
	}
}

func consents(f *importer.Fields) []capture.Consent {
	var out []capture.Consent
	family := f.Family("consent.")
	channels := make([]string, 0, len(family))
	for c := range family {
		channels = append(channels, c)
	}
	slices.Sort(channels)
	for _, channel := range channels {
		word, when, timed := strings.Cut(family[channel], "@")
		c := capture.Consent{Channel: channel, Granted: word == "granted", Proof: "import"}
		ok := c.Granted || word == "denied"
		if timed {
			var good bool
			c.At, good = importer.ParseTime(when)
			ok = ok && good
		}
		if !slices.Contains(member.Channels, channel) {
			known := strings.Join(member.Channels, ", ")
			f.Reject("consent."+channel, "channel", fault.Text{ZH: "没有渠道 " + channel, EN: "there is no channel " + channel},
				fault.Text{ZH: "请更正列名,可用渠道:" + known, EN: "correct the name of the column; channels: " + known})
			continue
		}
		if !ok {
			f.Reject("consent."+channel, "value", fault.Text{ZH: "不是可识别的授权状态", EN: "is not a consent"},
				fault.Text{ZH: "请写作 granted 或 denied,可加 @时间", EN: "write granted or denied, optionally @time"})
			continue
		}
		out = append(out, c)
	}
	return out
}

// Load stores the records. What a record states holds from updated_at, if the file has it; else a first record holds from
// its registration on, so the order of files does not matter, and a changed one from now, because only now it is known.
func (k *ImportMembers) Load(ctx context.Context, tx pgx.Tx, b importer.Batch) ([]importer.Result, error) {
	results := make([]importer.Result, len(b.Records))
	persons := make([]capture.Person, len(b.Records))
	var stores []string
	for i, rec := range b.Records {
		r := rec.Value.(record)
		p := capture.Person{
			Keys: r.Keys, Kind: identity.KindImport, Attrs: r.Attrs, Name: crypt.Name(r.Name), Tags: r.Tags, Consents: r.Consents,
			RegisteredAt: r.RegisteredAt, Source: r.Source, At: r.RegisteredAt, EventKey: "members/" + r.Source + "/" + r.SourceID, Mode: mode(b.Live),
		}
		switch {
		case !r.UpdatedAt.IsZero():
			p.At = r.UpdatedAt
		case p.At.IsZero(), rec.Update:
			p.At = b.Now
		}
		persons[i] = p
		if s, ok := r.Attrs["home_store"].(string); ok {
			stores = append(stores, s)
		}
		for _, column := range r.Unusable {
			results[i].Warnings = append(results[i].Warnings, importer.Warning{Code: "identifier.unusable", Subject: fmt.Sprintf("%s line %d", column, rec.Line)})
		}
	}
	stubs, err := k.stores(ctx, tx, stores, b.Now)
	if err != nil {
		return nil, err
	}
	importer.Warn(results, "store.stub", stubs)
	resolved, err := k.door.Observe(ctx, tx, persons)
	if err != nil {
		return nil, err
	}
	for i, r := range resolved {
		if r.Err != nil {
			results[i].Reject = erased()
		}
	}
	return results, nil
}

func erased() *fault.Field {
	return &fault.Field{
		Path: "source_id", Code: "erased", Text: fault.Text{ZH: "该会员资料已被删除", EN: "this person has been erased"},
		Hint: fault.Text{ZH: "已删除的会员不能再次导入", EN: "an erased person cannot be imported again"},
	}
}

func mode(live bool) member.Mode {
	if live {
		return member.ModeLive
	}
	return member.ModeBackfill
}
