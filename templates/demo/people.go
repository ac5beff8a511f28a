package demo

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Person is one human being: the truth that the identity graph has to find.
type Person struct {
	No       int
	Customer string // of the source file
	Name     string
	Gender   string
	Birthday string
	Phone    string // the number they use now
	Email    string
	Province string
	City     string
	Store    Org
	Accounts []*Account
	buyers   []*Account // those that can order
	sharesIn int        // household number, 0 for none
}

// Account is a person's record in one source system.
type Account struct {
	Person       *Person
	Source       string
	ID           string
	RegisteredAt time.Time
	FirstOrder   time.Time
	Rows         []Row // what the source system reported, by time; the last is how it stands
}

// Row is one row of the member import.
type Row struct {
	At                              time.Time
	Name, Phone, Email, Card        string
	WeChat                          string // the person at WeChat, as its stand-in names them; not reported
	Subject, UnionID, AppID, OpenID string
	TmallShop, OUID, OMID           string
	JDShop, XID                     string
	Device                          string
	ConsentSMS, ConsentEmail        string
	ConsentWeChat, ConsentMini      string
}

var (
	surnames = strings.Split("王 李 张 刘 陈 杨 黄 赵 吴 周 徐 孙 马 朱 胡 郭 何 林 罗 高 郑 梁 谢 宋 唐 许 韩 冯 邓 曹 彭 曾 肖 田 董 袁 潘 于 蒋 蔡 余 杜 叶 程 苏 魏 吕 丁 任 沈 姚 卢 姜 崔 钟 谭 陆 汪 范 金 石 廖 贾 夏 韦 付 方 白 邹 孟 熊 秦 邱 江 尹 薛 闫 段 雷 侯 龙 史 陶 黎 贺 顾 毛 郝 龚 邵 万 钱 严 覃 武 戴 莫 孔 向 汤 欧阳 司马", " ")
	givenF   = strings.Split("若溪 晚晴 思齐 念慈 清和 南枝 雨桐 欣怡 梓涵 诗涵 语嫣 佳怡 静怡 雅婷 婉清 书瑶 梦洁 晓彤 紫萱 可馨 芷若 秀英 桂兰 玉珍 淑华 丽娟 红梅 海燕 春花 美玲 莉 敏 静 婷 娜 慧 颖 琳 倩 雪 萍 芳 霞 玲 洁 薇 岚 蓉 璐 菲", " ")
	givenM   = strings.Split("一鸣 知远 家豪 晓川 京墨 海宁 浩然 子轩 宇航 俊杰 志强 建国 文博 嘉伟 天佑 明哲 泽宇 博文 思远 逸飞 建华 国强 德明 永康 振华 磊 强 军 勇 杰 涛 超 鹏 辉 刚 毅 斌 波 峰 昊 睿 晨 阳 凯 翔 宁 旭 诚 锐 帆", " ")
	cities   = strings.Split("浙江省/杭州市 浙江省/宁波市 浙江省/嘉兴市 上海市/上海市 江苏省/南京市 江苏省/苏州市 江苏省/无锡市 广东省/广州市 广东省/深圳市 广东省/佛山市 四川省/成都市 四川省/绵阳市 重庆市/重庆市 北京市/北京市 山东省/青岛市 山东省/济南市 福建省/厦门市 湖北省/武汉市 湖南省/长沙市 陕西省/西安市 河南省/郑州市 安徽省/合肥市 辽宁省/大连市 天津市/天津市", " ")
	networks = []string{"134", "135", "136", "137", "138", "139", "150", "151", "152", "157", "158", "159", "182", "183", "187", "188", "130", "131", "132", "155", "156", "185", "186", "133", "153", "180", "181", "189", "199"}
)

// people makes the retail customers and their accounts, without dates.
func (g *generator) people() {
	r := g.stream("people")
	shops := stores()
	for i, customer := range g.retail {
		p := &Person{No: i + 1, Customer: customer, Gender: "female"}
		given := givenF
		if r.IntN(100) < 24 {
			p.Gender, given = "male", givenM
		}
		p.Name = surnames[skewed(r, len(surnames))] + given[r.IntN(len(given))]
		p.Birthday = time.Date(1955+r.IntN(52), time.January, 1+r.IntN(365), 0, 0, 0, 0, time.UTC).Format("2006-01-02")
		p.Province, p.City, _ = strings.Cut(cities[skewed(r, len(cities))], "/")
		p.Store = shops[r.IntN(len(shops))]
		for _, s := range shops {
			if s.City == p.City {
				p.Store = s
				break
			}
		}
		p.Phone = g.phone(r)
		p.Email = fmt.Sprintf("%s%d@mail.robin.example", g.token(r, 6), p.No)
		g.accounts(p, r)
		g.w.People = append(g.w.People, p)
		g.byCust[customer] = p
	}
}

// skewed picks small indices more often.
func skewed(r *rand.Rand, n int) int { return min(r.IntN(n), r.IntN(n)) }

func (g *generator) phone(r *rand.Rand) string {
	return g.fresh(func() string { return networks[r.IntN(len(networks))] + fmt.Sprintf("%08d", r.IntN(100_000_000)) })
}

func (g *generator) token(r *rand.Rand, n int) string {
	const letters = "abcdefghijkmnpqrstuvwxyz23456789"
	return g.fresh(func() string {
		b := make([]byte, n)
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return string(b)
	})
}

func (g *generator) fresh(draw func() string) string {
	for {
		if s := draw(); !g.used[s] {
			g.used[s] = true
			return s
		}
	}
}

// accounts gives a person one to five accounts. Each reports what such a system knows: a till the card, a mini-program the
// unionid, a marketplace its own buyer id; most of them the phone.
func (g *generator) accounts(p *Person, r *rand.Rand) {
	omid := "om" + g.token(r, 18)
	wechat := fmt.Sprintf("robin-%d", p.No)
	union := g.w.UnionID(WeChatSubject, wechat)
	device := "dev-" + g.token(r, 16)
	add := func(source, id string, row Row, phonePercent int) *Account {
		if r.IntN(100) < phonePercent {
			row.Phone = p.Phone
		}
		row.Name = p.Name
		a := &Account{Person: p, Source: source, ID: id, Rows: []Row{row}}
		p.Accounts = append(p.Accounts, a)
		return a
	}
	granted := func(percent int) string {
		if r.IntN(100) < percent {
			return "granted"
		}
		return "denied"
	}
	if r.IntN(100) < 55 {
		card := fmt.Sprintf("RC%08d", 10_000_000+p.No*7+r.IntN(7))
		p.buyers = append(p.buyers, add(SourcePOS, card, Row{Card: card, ConsentSMS: granted(75)}, 92))
	}
	if r.IntN(100) < 62 {
		p.buyers = append(p.buyers, add(SourceMini, "mp"+g.token(r, 10), Row{
			WeChat: wechat, Subject: WeChatSubject, UnionID: union, AppID: MiniAppID, OpenID: g.w.OpenID(MiniAppID, wechat), ConsentMini: granted(70), ConsentSMS: granted(55),
		}, 82))
		if r.IntN(100) < 70 {
			add(SourceOfficial, "oa"+g.token(r, 10), Row{
				WeChat: wechat, Subject: WeChatSubject, UnionID: union, AppID: OfficialAppID, OpenID: g.w.OpenID(OfficialAppID, wechat), ConsentWeChat: "granted",
			}, 0)
		}
	}
	if r.IntN(100) < 38 {
		row := Row{TmallShop: TmallShop, OUID: "AAG" + g.token(r, 21)}
		if r.IntN(2) == 0 {
			row.OMID = omid
		}
		p.buyers = append(p.buyers, add(SourceTmall, "tb"+g.token(r, 9), row, 78))
	}
	if r.IntN(100) < 18 {
		p.buyers = append(p.buyers, add(SourceJD, "jd"+g.token(r, 9), Row{JDShop: JDShop, XID: "o*" + g.token(r, 22)}, 65))
	}
	if r.IntN(100) < 30 || len(p.buyers) == 0 {
		p.buyers = append(p.buyers, add(SourceApp, "app"+g.token(r, 8), Row{Email: p.Email, Device: device, ConsentEmail: granted(80), ConsentSMS: granted(60)}, 88))
	}
}

// relations dates the accounts, then makes people's lives untidy: households, devices, numbers and accounts that change
// hands. Each person takes part in at most one of these stories, so that the truth stays plain to read.
func (g *generator) relations() {
	r := g.stream("relations")
	for _, p := range g.w.People {
		var firstOrder time.Time
		for _, a := range p.buyers {
			if !a.FirstOrder.IsZero() && (firstOrder.IsZero() || a.FirstOrder.Before(firstOrder)) {
				firstOrder = a.FirstOrder
			}
		}
		for _, a := range p.Accounts {
			before := a.FirstOrder
			if before.IsZero() {
				before = firstOrder
			}
			a.RegisteredAt = before.Add(-time.Duration(3+r.IntN(60)) * time.Minute)
			if r.IntN(100) < 40 {
				a.RegisteredAt = a.RegisteredAt.AddDate(0, 0, -r.IntN(120))
			}
			a.Rows[0].At = a.RegisteredAt
		}
		slices.SortStableFunc(p.Accounts, func(a, b *Account) int { return a.RegisteredAt.Compare(b.RegisteredAt) })
	}
	people := slices.Clone(g.w.People)
	r.Shuffle(len(people), func(i, j int) { people[i], people[j] = people[j], people[i] })
	share := func(percent int) int { return (len(people)*percent + 99) / 100 }
	next := 0
	take := func(fits func(*Person) bool) *Person {
		for next < len(people) {
			p := people[next]
			next++
			if fits(p) {
				return p
			}
		}
		return nil
	}
	hasPhone := func(p *Person) bool { return len(rowsWithPhone(p)) > 0 }
	hasMini := func(p *Person) bool { return p.Account(SourceMini) != nil }
	has := func(source string) func(*Person) bool {
		return func(p *Person) bool { return p.Account(source) != nil }
	}

	for range share(2) { // re-bound WeChat: the mini-program account has a new unionid and openid
		p := take(hasMini)
		if p == nil {
			break
		}
		g.rebind(p, r)
	}
	for range share(1) { // re-issued phone: its old owner reports another number, a stranger then signs up with the old one
		old, fresh := take(hasPhone), take(hasPhone)
		if old == nil || fresh == nil {
			break
		}
		g.reissue(old, fresh, r)
	}
	for home := 1; home <= share(8)/2; home++ { // two people, one phone
		owner, other := take(hasPhone), take(hasPhone)
		if owner == nil || other == nil {
			break
		}
		owner.sharesIn, other.sharesIn = home, home
		for _, row := range rowsWithPhone(other) {
			row.Phone = owner.Phone
		}
		other.Phone = owner.Phone
	}
	for range (share(3) + 1) / 2 { // two people, one tablet
		a, b := take(has(SourceApp)), take(has(SourceApp))
		if a == nil || b == nil {
			break
		}
		b.Account(SourceApp).Rows[0].Device = a.Account(SourceApp).Rows[0].Device
	}
}

// Account returns the account of a source system, or nil.
func (p *Person) Account(source string) *Account {
	for _, a := range p.Accounts {
		if a.Source == source {
			return a
		}
	}
	return nil
}

func rowsWithPhone(p *Person) []*Row {
	var rows []*Row
	for _, a := range p.Accounts {
		for i := range a.Rows {
			if a.Rows[i].Phone != "" {
				rows = append(rows, &a.Rows[i])
			}
		}
	}
	return rows
}

// later returns an instant after all reports so far, before the live window ends.
func (g *generator) later(after time.Time, r *rand.Rand) time.Time {
	end := g.w.Today.Start().Add(-time.Hour)
	if !after.Before(end) {
		return after.Add(time.Second)
	}
	return after.Add(time.Duration(1+r.Int64N(int64(end.Sub(after)/time.Second))) * time.Second)
}

func (g *generator) rebind(p *Person, r *rand.Rand) {
	mini := p.Account(SourceMini)
	row := mini.Rows[0]
	at := mini.RegisteredAt
	for _, a := range p.Accounts {
		at = latest(at, a.RegisteredAt)
	}
	row.At = g.later(at, r)
	row.WeChat += "-new"
	row.UnionID, row.OpenID = g.w.UnionID(WeChatSubject, row.WeChat), g.w.OpenID(MiniAppID, row.WeChat)
	mini.Rows = append(mini.Rows, row)
}

func (g *generator) reissue(old, fresh *Person, r *rand.Rand) {
	number := old.Phone
	changed := time.Time{}
	for _, a := range old.Accounts {
		changed = latest(changed, a.RegisteredAt)
	}
	old.Phone = g.phone(r)
	changed = g.later(changed, r)
	for _, a := range old.Accounts { // every record of the old owner learns the new number
		if a.Rows[0].Phone == "" {
			continue
		}
		row := a.Rows[0]
		row.At, row.Phone = changed, old.Phone
		a.Rows = append(a.Rows, row)
	}
	taken := changed
	for _, a := range fresh.Accounts {
		taken = latest(taken, a.RegisteredAt)
	}
	fresh.Phone = number
	taken = g.later(taken, r)
	for _, a := range fresh.Accounts {
		if a.Rows[0].Phone == "" {
			continue
		}
		row := a.Rows[0]
		row.At, row.Phone = taken, number
		a.Rows = append(a.Rows, row)
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
