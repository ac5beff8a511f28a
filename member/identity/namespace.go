package identity

// Class says what an identifier identifies.
type Class string

// The classes. A cluster with a person-class birth is a member, else a visitor.
const (
	ClassAccount Class = "account" // a record or login that stands for one person; person class
	ClassPerson  Class = "person"  // a means of contact or a platform id of a person; person class
	ClassDevice  Class = "device"  // hangs on the newest login, never joins two people
	ClassVisitor Class = "visitor" // a guest order: claimable, never joins two people
	ClassPartner Class = "partner" // a sales organisation: never a member, joins nobody
)

// The namespaces.
const (
	NSSource         = "source"
	NSUser           = "user"
	NSMemberNo       = "member_no"
	NSPhone          = "phone"
	NSPhoneName      = "phone_name"
	NSEmail          = "email"
	NSCard           = "card"
	NSWeChatUnionID  = "wechat_unionid"
	NSWeChatOpenID   = "wechat_openid"
	NSWeComExternal  = "wecom_external"
	NSWeibo          = "weibo"
	NSTmallOUID      = "tmall_ouid"
	NSTmallOMID      = "tmall_omid"
	NSJDXID          = "jd_xid"
	NSAnonymous      = "anonymous"
	NSDevice         = "device"
	NSOrder          = "order"
	NSPartner        = "partner"
	maxAccountsOfOne = 50 // more accounts than this on one identifier say that it is nobody's
)

// Namespace is the policy of one kind of identifier.
type Namespace struct {
	Code  string
	Class Class
	// Scoped values mean something only inside a scope: an appid, a shop, a corp, a source system.
	Scoped bool
	// Limit is how many different values of one scope a member may hold; 0 is any number. Strong evidence (an operator, or
	// the same name on the same phone) goes past it unless Hard.
	Limit int
	Hard  bool
	// Shareable identifiers are used by families: they join people only if all who use them can be one person, else they
	// belong to the newest user and join nobody.
	Shareable bool
	// Kind is how the value is kept for those who must read it (package crypt), "" if it is not kept.
	Kind string
	// Open values are kept like personal data, but shown: they mean nothing outside the system that they come from.
	Open bool
	// Channel lists the channels that deliver to it.
	Channels  []string
	normalise func(string) (string, bool)
	Note      string
}

// Person reports whether the namespace makes a member.
func (n Namespace) Person() bool { return n.Class == ClassAccount || n.Class == ClassPerson }

// bridges reports whether evidence on it may join two people.
func (n Namespace) bridges() bool { return n.Person() }

// Namespaces is the table of all namespaces, in the order of docs/identity.md.
var namespaces = []Namespace{
	{Code: NSSource, Class: ClassAccount, Scoped: true, Limit: 1, Kind: "value", Open: true, normalise: record,
		Note: "one source system's record of one person; scope is the system"},
	{Code: NSUser, Class: ClassAccount, Limit: 1, normalise: numbered(256), Note: "userId of the tracking API"},
	{Code: NSMemberNo, Class: ClassAccount, Limit: 1, normalise: upper(64), Note: "member number"},
	{Code: NSPhone, Class: ClassPerson, Limit: 5, Shareable: true, Kind: "phone", Channels: []string{"sms"}, normalise: phone,
		Note: "E.164; a re-issued number opens a new epoch"},
	{Code: NSPhoneName, Class: ClassPerson, Scoped: true, Limit: 1, Hard: true, normalise: opaque(128),
		Note: "derived: a real name, by sound, on one phone; scope is the phone's token. Tells a family apart and one person's records together"},
	{Code: NSEmail, Class: ClassPerson, Limit: 5, Shareable: true, Kind: "email", Channels: []string{"email"}, normalise: email},
	{Code: NSCard, Class: ClassPerson, Limit: 3, Kind: "value", normalise: upper(64), Note: "card number"},
	{Code: NSWeChatUnionID, Class: ClassPerson, Scoped: true, Limit: 1, normalise: openid, Note: "scope is the Open Platform subject"},
	{Code: NSWeChatOpenID, Class: ClassPerson, Scoped: true, Limit: 1, Kind: "value", Channels: []string{"wechat", "miniprogram"},
		normalise: openid, Note: "scope is the appid"},
	{Code: NSWeComExternal, Class: ClassPerson, Scoped: true, Limit: 1, Kind: "value", Channels: []string{"wecom"},
		normalise: openid, Note: "external_userid; scope is the corp"},
	{Code: NSWeibo, Class: ClassPerson, Limit: 1, normalise: openid},
	{Code: NSTmallOUID, Class: ClassPerson, Scoped: true, Limit: 1, normalise: openid, Note: "scope is the shop"},
	{Code: NSTmallOMID, Class: ClassPerson, Limit: 1, normalise: openid, Note: "cross-shop id of the brand's 会员通"},
	{Code: NSJDXID, Class: ClassPerson, Scoped: true, Limit: 1, normalise: openid, Note: "scope is the shop"},
	{Code: NSAnonymous, Class: ClassDevice, normalise: opaque(128), Note: "anonymousId of the tracking API"},
	{Code: NSDevice, Class: ClassDevice, Kind: "value", Channels: []string{"push"}, normalise: opaque(128)},
	{Code: NSOrder, Class: ClassVisitor, normalise: record, Note: "a guest order, claimable later; value is the order number"},
	{Code: NSPartner, Class: ClassPartner, Scoped: true, normalise: numbered(256), Note: "the buyer of an order at touchpoint b2b; scope is the source system"},
}

var byCode = func() map[string]*Namespace {
	m := make(map[string]*Namespace, len(namespaces))
	for i := range namespaces {
		m[namespaces[i].Code] = &namespaces[i]
	}
	return m
}()

// Namespaces returns the table.
func Namespaces() []Namespace { return append([]Namespace(nil), namespaces...) }

// NamespaceOf returns the policy of a namespace.
func NamespaceOf(code string) (Namespace, bool) {
	n, ok := byCode[code]
	if !ok {
		return Namespace{}, false
	}
	return *n, true
}

// Kind of evidence.
const (
	KindOperator = "operator" // a person at the console decided
	KindOTP      = "otp"      // the phone answered a one-time code for this account
	KindLogin    = "login"
	KindBind     = "bind"
	KindScan     = "scan"
	KindImport   = "import"
	KindOrder    = "order" // an order named them together
	KindTrack    = "track"
	KindReissued = "reissued" // the phone number belongs to somebody new; keys[0] is the phone
	KindDeny     = "deny"     // never one member
)

// trustOf is the default trust of a kind of evidence, 0 strongest.
func trustOf(kind string) int {
	switch kind {
	case KindOperator, KindDeny:
		return 0
	case KindOTP, KindLogin:
		return 1
	case KindBind, KindScan, KindImport:
		return 2
	case KindOrder:
		return 3
	default:
		return 4
	}
}
