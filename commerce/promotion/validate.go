package promotion

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/validate"
)

const (
	maxFen      = money.Fen(1_000_000_000_000)
	maxUnits    = 100_000
	maxList     = 5000
	maxBearers  = 20
	maxQuantity = 1_000_000
)

var bearerPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// problems collects what is wrong with an input, by JSON path.
type problems []fault.Field

func (p *problems) add(path, code string, text, hint fault.Text) {
	*p = append(*p, fault.Field{Path: path, Code: code, Text: text, Hint: hint})
}

func (p *problems) unless(ok bool, path, code, zh, en, fixZH, fixEN string) {
	if !ok {
		p.add(path, code, fault.Text{ZH: zh, EN: en}, fault.Text{ZH: fixZH, EN: fixEN})
	}
}

func (p *problems) amount(path string, v money.Fen) {
	p.unless(v >= 0 && v <= maxFen, path, "range", "金额须在 0 到 10^12 分之间", "is not between 0 and 10^12 fen", "请以分为单位填写", "write the amount in fen, ¥12.50 as 1250")
}

func (p *problems) count(path string, v int64) {
	p.unless(v >= 0 && v <= maxQuantity, path, "range", "数量须在 0 到 1000000 之间", "is not between 0 and 1,000,000", "请更正数量", "correct the number")
}

func (p problems) as(base *fault.Error) error {
	if len(p) == 0 {
		return nil
	}
	return base.WithFields(p...)
}

// Validate checks a promotion before it is stored: ErrInvalid names each mistake by its JSON path.
func (r Rule) Validate() error {
	var p problems
	p.unless(validate.CodePattern.MatchString(r.Promotion), "code", "pattern", "代码须为 1 到 63 位小写字母、数字、.、- 或 _", "is not a code", "如 spring-2026", "1 to 63 lower-case letters, digits, dots, - or _: spring-2026")
	p.unless(r.Name != "" && len(r.Name) <= 200, "name", "length", "名称须为 1 到 200 字节", "has not 1 to 200 bytes", "请填写名称", "give it a name")
	p.unless(r.Priority >= -1_000_000 && r.Priority <= 1_000_000, "priority", "range", "优先级超出范围", "is out of range", "请填写 -1000000 到 1000000", "between -1,000,000 and 1,000,000")
	p.unless(r.Exclusive == "" || validate.CodePattern.MatchString(r.Exclusive), "exclusive", "pattern", "互斥类别代码格式有误", "is not a code", "如 season-sale", "lower-case letters, digits, dots, - or _")
	p.unless(r.Basis == "" || r.Basis == BasisDiscounted || r.Basis == BasisInitial, "basis", "enum", "须为 discounted 或 initial", "is neither discounted nor initial", "请选择门槛口径", "choose one of them")
	p.count("min_quantity", r.MinQuantity)
	p.amount("min_amount_fen", r.MinAmount)
	p.amount("max_discount_fen", r.MaxDiscount)
	p.amount("limits.budget_fen", r.Limits.BudgetFen)
	p.unless(r.Limits.Total >= 0 && r.Limits.PerDay >= 0 && r.Limits.PerMember >= 0, "limits", "range", "限量不能为负", "limits are negative", "不限请填 0", "write 0 for no limit")
	r.When.check(&p)
	r.Items.check(&p, "items", true)
	if r.Trigger != nil {
		r.Trigger.check(&p, "trigger", true)
		p.unless(r.Kind != KindGift && r.Kind != KindFreight && r.Kind != KindAddOn, "trigger", "kind", "此类促销以 items 为条件商品", "promotions of this kind look at items", "请去掉 trigger,把条件商品写入 items", "leave trigger out and write the goods into items")
	}
	r.checkBenefit(&p)
	checkBearers(&p, r.Bearers)
	return p.as(ErrInvalid)
}

func (c Conditions) check(p *problems) {
	p.unless(c.From == nil || c.To == nil || c.To.After(*c.From), "when.to", "order", "结束时间须晚于开始时间", "does not lie after when.from", "请更正时间", "correct one of the two")
	for i, d := range c.Weekdays {
		p.unless(d >= 1 && d <= 7, fmt.Sprintf("when.weekdays[%d]", i), "range", "星期须为 1 到 7", "is not 1 to 7", "1 为周一,7 为周日", "1 is Monday, 7 Sunday")
	}
	for i, h := range c.Hours {
		from, ok1 := minutes(h.From)
		to, ok2 := minutes(h.To)
		path := fmt.Sprintf("when.hours[%d]", i)
		p.unless(ok1, path+".from", "time", "不是 HH:MM", "is not HH:MM", "如 20:00", "write it as 20:00")
		p.unless(ok2, path+".to", "time", "不是 HH:MM", "is not HH:MM", "如 22:30,到当日结束写 24:00", "write it as 22:30; the end of the day is 24:00")
		p.unless(!ok1 || !ok2 || from != to, path, "empty", "开始与结束相同", "from and to are the same", "请更正,或去掉该时段", "correct them, or leave the span out")
	}
	for _, l := range []struct {
		name string
		n    int
	}{{"touchpoints", len(c.Touchpoints)}, {"stores", len(c.Stores)}, {"tiers", len(c.Tiers)}, {"segments", len(c.Segments)}, {"tags", len(c.Tags)}} {
		p.unless(l.n <= maxList, "when."+l.name, "length", "超过 5000 项", "has more than 5,000 entries", "请缩短列表", "shorten the list")
	}
}

// minutes reads HH:MM, 24:00 included.
func minutes(v string) (int, bool) {
	if v == "24:00" {
		return 24 * 60, true
	}
	at, err := time.Parse("15:04", v)
	return at.Hour()*60 + at.Minute(), err == nil && len(v) == 5
}

func (s Scope) check(p *problems, path string, top bool) {
	for _, l := range []struct {
		name string
		list []string
	}{{"skus", s.SKUs}, {"spus", s.SPUs}, {"categories", s.Categories}, {"brands", s.Brands}} {
		p.unless(len(l.list) <= maxList, path+"."+l.name, "length", "超过 5000 项", "has more than 5,000 entries", "请改用类目或品牌", "name categories or brands instead")
		for i, v := range l.list {
			p.unless(v != "" && len(v) <= 200, fmt.Sprintf("%s.%s[%d]", path, l.name, i), "length", "不能为空且不超过 200 字节", "is empty or longer than 200 bytes", "请更正该项", "correct it or take it out")
		}
	}
	if s.Except != nil {
		p.unless(top, path+".except", "nested", "排除范围内不能再嵌套排除", "is inside an exception", "请去掉内层 except", "take the inner except out")
		p.unless(!s.Except.everything(), path+".except", "everything", "排除范围为空即排除全部商品", "names nothing and so takes everything out", "请列出要排除的商品,或去掉 except", "list what is taken out, or leave except out")
		if top {
			s.Except.check(p, path+".except", false)
		}
	}
}

func (r Rule) checkBenefit(p *problems) {
	b := r.Benefit
	const path = "benefit"
	percent := func() {
		p.unless(b.PercentBp >= 1 && b.PercentBp <= 10000, path+".percent_bp", "range", "须为 1 到 10000 基点(减去的部分)", "is not 1 to 10,000 basis points", "八折写 2000,半价写 5000,免费写 10000", "what is taken off: 2000 for 20 %, 5000 for half, 10000 for free")
	}
	positive := func(name string, v, most int64) {
		p.unless(v >= 1 && v <= most, path+"."+name, "range", fmt.Sprintf("须为 1 到 %d", most), fmt.Sprintf("is not 1 to %d", most), "请更正数量", "correct the number")
	}
	p.amount(path+".amount_fen", b.Amount)
	p.amount(path+".price_fen", b.Price)
	p.count(path+".most", b.Most)
	switch r.Kind {
	case KindItemDiscount:
		given := 0
		for _, v := range []bool{b.PercentBp != 0, b.Amount != 0, b.Price != 0} {
			if v {
				given++
			}
		}
		p.unless(given == 1, path, "one_of", "须且只能填写 percent_bp、amount_fen、price_fen 之一", "needs exactly one of percent_bp, amount_fen and price_fen", "请保留其中一项", "keep one of them")
		if b.PercentBp != 0 {
			percent()
		}
	case KindMemberPrice:
	case KindNthUnit:
		percent()
		positive("n", b.N, 1000)
		p.unless(b.N != 1, path+".n", "range", "第 1 件即每件,请用 item_discount", "1 is every unit", "请填 2 或以上", "use item_discount for that, or 2 and more")
	case KindBuyGet:
		percent()
		positive("buy", b.Buy, 1000)
		positive("get", b.Get, 1000)
	case KindBundlePrice:
		positive("n", b.N, 1000)
	case KindAddOn:
		p.unless(len(b.AddOns) >= 1 && len(b.AddOns) <= 200, path+".add_ons", "length", "须有 1 到 200 件换购商品", "has not 1 to 200 goods", "请列出换购商品与价格", "list the goods and their prices")
		seen := map[string]bool{}
		for i, a := range b.AddOns {
			p.unless(a.SKU != "" && !seen[a.SKU], fmt.Sprintf("%s.add_ons[%d].sku", path, i), "value", "不能为空或重复", "is empty or occurs twice", "请更正商品", "correct it or take it out")
			p.amount(fmt.Sprintf("%s.add_ons[%d].price_fen", path, i), a.Price)
			seen[a.SKU] = true
		}
	case KindThreshold:
		r.checkTiers(p, path+".tiers")
	case KindGift:
		p.unless(len(b.Gifts) >= 1 && len(b.Gifts) <= 20, path+".gifts", "length", "须有 1 到 20 个赠品(首个缺货时依次替补)", "has not 1 to 20 gifts", "请列出赠品,其后为缺货替补", "list the gift, then what replaces it when it is out of stock")
		for i, g := range b.Gifts {
			p.unless(g.SKU != "", fmt.Sprintf("%s.gifts[%d].sku", path, i), "empty", "缺少赠品编码", "is empty", "请填写赠品 SKU", "name the SKU")
			p.unless(g.Quantity >= 0 && g.Quantity <= 1000, fmt.Sprintf("%s.gifts[%d].quantity", path, i), "range", "须为 0 到 1000", "is not 0 to 1,000", "0 表示 1 件", "0 means 1")
			p.amount(fmt.Sprintf("%s.gifts[%d].worth_fen", path, i), g.Worth)
		}
	case KindFreight:
		p.unless(b.Free || b.Amount > 0 || b.PercentBp > 0, path, "one_of", "须填写 free、amount_fen 或 percent_bp", "needs free, amount_fen or percent_bp", "包邮请填 free: true", "write free: true for free delivery")
		if b.PercentBp != 0 {
			percent()
		}
	default:
		p.unless(false, "kind", "enum", "不是可用的促销类型", "is not a kind of promotion", "可用:item_discount, member_price, nth_unit, buy_get, bundle_price, add_on, threshold, gift, freight",
			"allowed: item_discount, member_price, nth_unit, buy_get, bundle_price, add_on, threshold, gift, freight")
	}
	repeats := r.Kind == KindThreshold || r.Kind == KindGift || r.Kind == KindAddOn
	p.unless(!b.Repeat || repeats, path+".repeat", "kind", "此类促销没有“每满”", "has no meaning for this kind", "请去掉 repeat", "leave it out")
	if b.Repeat && r.Kind != KindThreshold {
		p.unless(r.MinAmount > 0 || r.MinQuantity > 0, path+".repeat", "threshold", "每满需要门槛", "needs a threshold", "请填写 min_amount_fen 或 min_quantity", "give min_amount_fen or min_quantity")
	}
}

func (r Rule) checkTiers(p *problems, path string) {
	tiers := r.Benefit.Tiers
	p.unless(len(tiers) >= 1 && len(tiers) <= 50, path, "length", "须有 1 到 50 个档位", "has not 1 to 50 steps", "请填写档位", "give at least one step")
	p.unless(!r.Benefit.Repeat || len(tiers) == 1, "benefit.repeat", "tiers", "每满只能有一个档位", "works with one step only", "请只保留一个档位,或去掉 repeat", "keep one step, or leave repeat out")
	for i, t := range tiers {
		at := fmt.Sprintf("%s[%d]", path, i)
		p.amount(at+".min_amount_fen", t.MinAmount)
		p.amount(at+".amount_fen", t.Amount)
		p.count(at+".min_quantity", t.MinQuantity)
		p.unless((t.Amount > 0) != (t.PercentBp > 0), at, "one_of", "须且只能填写 amount_fen、percent_bp 之一", "needs exactly one of amount_fen and percent_bp", "满减填 amount_fen,满折填 percent_bp", "keep one of them")
		p.unless(t.PercentBp >= 0 && t.PercentBp <= 10000, at+".percent_bp", "range", "须为 0 到 10000 基点", "is not 0 to 10,000 basis points", "九折写 1000", "what is taken off: 1000 for 10 %")
		p.unless((t.MinAmount > 0) != (t.MinQuantity > 0), at, "one_of", "须且只能填写 min_amount_fen、min_quantity 之一", "needs exactly one of min_amount_fen and min_quantity", "满额填 min_amount_fen,满件填 min_quantity", "keep one of them")
		p.unless(!r.Benefit.Repeat || t.PercentBp == 0, at+".percent_bp", "repeat", "每满只支持减额", "cannot repeat", "请改用 amount_fen,或去掉 repeat", "use amount_fen, or leave repeat out")
		if i == 0 {
			continue
		}
		b := tiers[i-1]
		sameKind := (t.MinAmount > 0) == (b.MinAmount > 0) && (t.Amount > 0) == (b.Amount > 0)
		p.unless(sameKind && t.MinAmount >= b.MinAmount && t.MinQuantity >= b.MinQuantity && (t.MinAmount > b.MinAmount || t.MinQuantity > b.MinQuantity) &&
			t.Amount >= b.Amount && t.PercentBp >= b.PercentBp, at, "order", "各档须口径相同、门槛递增、优惠不减", "does not rise above the step before it in the same terms", "请按门槛从低到高排列", "sort the steps by threshold; a higher one gives at least as much")
	}
}

func checkBearers(p *problems, bearers []Bearer) {
	p.unless(len(bearers) <= maxBearers, "bearers", "length", "承担方过多", "are too many", "最多 20 个", "at most 20")
	var sum int64
	seen := map[string]bool{}
	for i, b := range bearers {
		p.unless(bearerPattern.MatchString(b.Bearer) && !seen[b.Bearer], fmt.Sprintf("bearers[%d].bearer", i), "value", "代码有误或重复", "is malformed or occurs twice", "如 hq、performer、mall、platform", "a code as hq, performer, mall or platform, once")
		p.unless(b.Bp >= 1 && b.Bp <= 10000, fmt.Sprintf("bearers[%d].bp", i), "range", "须为 1 到 10000", "is not 1 to 10,000", "60% 写 6000", "6000 for 60 %")
		seen[b.Bearer] = true
		sum += b.Bp
	}
	p.unless(sum == 10000, "bearers", "sum", fmt.Sprintf("承担比例之和为 %d,须为 10000", sum), fmt.Sprintf("sum to %d, not to 10,000", sum), "请调整各方比例", "adjust the shares")
}

// checkGroups checks the tree and what stands in it. paths names the rules in messages: rules[i] by default.
func checkGroups(p *problems, groups []Group, rules []Rule) {
	at := map[string]int{}
	for i, g := range groups {
		path := fmt.Sprintf("groups[%d]", i)
		_, twice := at[g.Code]
		p.unless(validate.CodePattern.MatchString(g.Code) && !twice, path+".code", "value", "代码有误或重复", "is malformed or occurs twice", "请更正代码", "lower-case letters, digits, dots, - or _, once")
		p.unless(g.Mode == ModeStackable || g.Mode == ModeFirst || g.Mode == ModeBest, path+".mode", "enum", "须为 stackable、first 或 best", "is not stackable, first or best", "请选择叠加方式", "choose one of them")
		p.unless(g.Scope == ScopeOrder || g.Scope == ScopeItem, path+".scope", "enum", "须为 order 或 item", "is neither order nor item", "请选择范围", "choose one of them")
		p.unless(g.Max >= 0 && (g.Max == 0 || (g.Mode == ModeStackable && g.Scope == ScopeOrder)), path+".max", "mode", "仅整单可叠加组有 max", "belongs to stackable groups of scope order", "请去掉 max", "leave it out")
		at[g.Code] = i
	}
	level := map[string]Level{}
	for i, g := range groups {
		path := fmt.Sprintf("groups[%d].parent", i)
		seen := map[string]bool{g.Code: true}
		for up := g.Parent; up != ""; {
			j, ok := at[up]
			p.unless(ok, path, "unknown", "没有该上级组", "names no group", "请先建立上级组", "add that group, or leave parent out")
			p.unless(!seen[up], path, "cycle", "分组成环", "leads back to the group itself", "请更正上级组", "correct the parent")
			if !ok || seen[up] {
				break
			}
			bestItem := g.Mode == ModeBest && g.Scope == ScopeItem
			p.unless(!bestItem || groups[j].Mode != ModeFirst, path, "first", "按序取首的分组内不能有单品择优组", "takes the first of a list, and cannot hold a group that chooses the best per line", "请移到其他分组", "put the group elsewhere")
			p.unless(groups[j].Mode != ModeBest || groups[j].Scope != ScopeItem, path, "best_item", "单品择优组内不能再有分组", "is a group that chooses the best per line and holds promotions only", "请把促销直接放入该组", "put the promotions into it directly")
			seen[up] = true
			up = groups[j].Parent
		}
	}
	for _, r := range rules {
		path := "promotions." + r.Promotion + ".group"
		steps := 0
		for up := r.Group; up != "" && steps <= len(groups); steps++ {
			j, ok := at[up]
			p.unless(ok, path, "unknown", "没有分组 "+up, "names no group: "+up, "请先建立分组", "add the group first")
			if !ok {
				break
			}
			g := groups[j]
			if g.Mode == ModeBest && g.Scope == ScopeItem {
				p.unless(r.Kind.Level() == LevelItem, path, "level", "单品择优组只能放单品促销", "is for promotions of items only", "请放入其他分组", "choose another group")
			}
			if g.Mode == ModeFirst {
				known, ok := level[g.Code]
				p.unless(!ok || known == r.Kind.Level(), path, "level", "按序取首的分组内须为同一层级的促销", "takes the first of a list, and holds promotions of one level", "请把单品、订单、赠品、运费促销分开", "keep item, order, gift and freight promotions apart")
				level[g.Code] = cmp.Or(known, r.Kind.Level())
			}
			up = g.Parent
		}
	}
}

// Validate checks a cart: ErrCart names each mistake by its JSON path.
func (c Cart) Validate() error {
	var p problems
	p.unless(!c.At.IsZero(), "at", "empty", "缺少时间", "is empty", "请填写时间", "give the time, RFC 3339")
	p.amount("freight_fen", c.Freight)
	p.unless(len(c.Lines) <= 500, "lines", "length", "超过 500 行", "has more than 500 lines", "请拆分订单", "split the order")
	p.unless(len(c.Coupons) <= 50, "coupons", "length", "超过 50 张券", "has more than 50 coupons", "请减少用券", "present fewer")
	ids := map[string]bool{}
	var units int64
	for i, l := range c.Lines {
		path := fmt.Sprintf("lines[%d]", i)
		p.unless(l.ID != "" && len(l.ID) <= 100 && !ids[l.ID], path+".id", "value", "不能为空或重复", "is empty or occurs twice", "请为每行指定不同的 id", "give each line an id of its own")
		p.unless(l.SKU != "", path+".sku", "empty", "缺少 SKU", "is empty", "请填写 SKU", "name the SKU")
		p.unless(l.Quantity >= 1 && l.Quantity <= maxUnits, path+".quantity", "range", "须为 1 到 100000", "is not 1 to 100,000", "请更正数量", "correct the quantity")
		p.unless(slices.Contains([]LineKind{"", LineSale, LineComponent, LineGift, LineFee}, l.Kind), path+".kind", "enum", "不是可用的行类型", "is not a kind of line", "可用:sale, bundle_component, gift, fee", "allowed: sale, bundle_component, gift, fee")
		p.amount(path+".unit_price_fen", l.UnitPrice)
		p.amount(path+".member_price_fen", l.MemberPrice)
		p.amount(path+".floor_price_fen", l.FloorPrice)
		ids[l.ID] = true
		units += max(l.Quantity, 0)
	}
	p.unless(units <= maxUnits, "lines", "units", "合计超过 100000 件", "have more than 100,000 units", "请拆分订单", "split the order")
	codes := map[string]bool{}
	for i, k := range c.Coupons {
		p.unless(k.Code != "" && !codes[k.Code], fmt.Sprintf("coupons[%d].code", i), "value", "券码为空或重复", "is empty or occurs twice", "请更正券码", "correct the code")
		codes[k.Code] = true
	}
	return p.as(ErrCart)
}
