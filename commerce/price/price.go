package price

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/member"
)

// Kind is what a price is for.
type Kind string

// The kinds of prices.
const (
	KindTag    Kind = "tag"    // 吊牌价
	KindRetail Kind = "retail" // 零售价: what everybody pays
	KindMember Kind = "member" // 会员价
	KindCost   Kind = "cost"   // 成本价
	KindFloor  Kind = "floor"  // 底价: no discount breaks it
)

// Kinds lists them.
var Kinds = []Kind{KindTag, KindRetail, KindMember, KindCost, KindFloor}

// Level says for whom a price is: "" for everybody, else PLACE:CODE.
type Level string

// The places a level may name, the most special first.
const (
	PlacePartner    = "partner"
	PlaceTier       = "tier"
	PlaceStore      = "store"
	PlaceTouchpoint = "touchpoint"
)

var places = []string{PlacePartner, PlaceTier, PlaceStore, PlaceTouchpoint}

// LevelOf returns the level of a place; "" without a code.
func LevelOf(place, code string) Level {
	if code == "" {
		return ""
	}
	return Level(place + ":" + code)
}

func (l Level) rank() int {
	place, _, _ := strings.Cut(string(l), ":")
	if i := slices.Index(places, place); i >= 0 {
		return i
	}
	return len(places)
}

// Price is what a SKU costs at a level from an instant on. A nil amount ends the price of that level.
type Price struct {
	SKU         string     `json:"sku"`
	Kind        Kind       `json:"kind" enum:"tag,retail,member,cost,floor"`
	Level       Level      `json:"level,omitempty" doc:"empty: everybody; else partner:CODE, tier:CODE, store:CODE or touchpoint:CODE"`
	EffectiveAt time.Time  `json:"effective_at"`
	PriceFen    *money.Fen `json:"price_fen" doc:"null: from then on the more general level holds"`
}

const maxFen = money.Fen(1_000_000_000_000)

// check says what is wrong with a price, by field.
func (p Price) check() (wrong []fault.Field) {
	bad := func(path, code, zh, en, fixZH, fixEN string) {
		wrong = append(wrong, fault.Field{Path: path, Code: code, Text: fault.Text{ZH: zh, EN: en}, Hint: fault.Text{ZH: fixZH, EN: fixEN}})
	}
	if p.SKU == "" || len(p.SKU) > 200 {
		bad("sku", "length", "须为 1 到 200 字节", "has not 1 to 200 bytes", "请填写 SKU", "name the SKU")
	}
	if !slices.Contains(Kinds, p.Kind) {
		bad("kind", "enum", "不是可用的价格类型", "is not a kind of price", "可用:tag, retail, member, cost, floor", "allowed: tag, retail, member, cost, floor")
	}
	place, code, named := strings.Cut(string(p.Level), ":")
	if p.Level != "" && (!named || code == "" || !slices.Contains(places, place) || len(p.Level) > 200) {
		bad("level", "pattern", "不是可用的价格级别", "is not a level", "留空表示所有人,或 partner:代码、tier:代码、store:代码、touchpoint:代码", "leave it empty for everybody, or write partner:CODE, tier:CODE, store:CODE or touchpoint:CODE")
	}
	if place == PlaceTier && p.Kind != KindMember {
		bad("level", "tier", "会员等级只能有会员价", "belongs to member prices", "请把 kind 改为 member,或换一个级别", "make it a member price, or choose another level")
	}
	if p.PriceFen != nil && (*p.PriceFen < 0 || *p.PriceFen > maxFen) {
		bad("price_fen", "range", "须在 0 到 10^12 分之间", "is not between 0 and 10^12 fen", "金额以分为单位,如 ¥12.50 写作 1250", "amounts are in fen: write ¥12.50 as 1250")
	}
	if p.EffectiveAt.IsZero() {
		bad("effective_at", "empty", "缺少生效时间", "is empty", "请填写生效时间", "say from when it holds")
	}
	return wrong
}

// Query asks what SKUs cost somebody.
type Query struct {
	SKUs       []string
	At         time.Time
	Touchpoint member.Touchpoint
	Store      string
	Tier       string
	Partner    string // price level of a partner, from its contract
}

func (q Query) levels() []Level {
	levels := []Level{""}
	for _, l := range []Level{LevelOf(PlacePartner, q.Partner), LevelOf(PlaceTier, q.Tier), LevelOf(PlaceStore, q.Store), LevelOf(PlaceTouchpoint, string(q.Touchpoint))} {
		if l != "" {
			levels = append(levels, l)
		}
	}
	return levels
}

// Reason says where a price of a quote comes from.
type Reason struct {
	Kind        Kind       `json:"kind"`
	Level       Level      `json:"level"`
	EffectiveAt *time.Time `json:"effective_at,omitempty" doc:"absent: the catalogue's price"`
	PriceFen    money.Fen  `json:"price_fen"`
}

// Quote is what a SKU costs somebody at an instant; nil is not set.
type Quote struct {
	SKU    string     `json:"sku"`
	Tag    *money.Fen `json:"tag_fen"`
	Retail *money.Fen `json:"retail_fen"`
	Member *money.Fen `json:"member_fen"`
	Cost   *money.Fen `json:"cost_fen,omitempty"`
	Floor  *money.Fen `json:"floor_fen,omitempty"`
	Why    []Reason   `json:"why" doc:"which level each price comes from"`
}

// quote chooses among what holds at each level.
func quote(sku string, tag, retail *money.Fen, held []Price) Quote {
	slices.SortFunc(held, func(a, b Price) int { return cmp.Compare(a.Level.rank(), b.Level.rank()) })
	q := Quote{SKU: sku, Why: []Reason{}}
	for _, k := range []struct {
		kind     Kind
		to       **money.Fen
		fallback *money.Fen
	}{{KindTag, &q.Tag, tag}, {KindRetail, &q.Retail, retail}, {KindMember, &q.Member, nil}, {KindCost, &q.Cost, nil}, {KindFloor, &q.Floor, nil}} {
		i := slices.IndexFunc(held, func(p Price) bool { return p.Kind == k.kind && p.PriceFen != nil })
		if i >= 0 {
			p := held[i]
			*k.to = p.PriceFen
			q.Why = append(q.Why, Reason{p.Kind, p.Level, &p.EffectiveAt, *p.PriceFen})
		} else if k.fallback != nil {
			*k.to = k.fallback
			q.Why = append(q.Why, Reason{Kind: k.kind, PriceFen: *k.fallback})
		}
	}
	return q
}

// at prefixes the paths of the fields with the place of the price in a list.
func at(i int, fields []fault.Field) []fault.Field {
	for k := range fields {
		fields[k].Path = fmt.Sprintf("prices[%d].%s", i, fields[k].Path)
	}
	return fields
}
