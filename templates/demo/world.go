package demo

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/money"
)

// LiveDays is how many days before today are lived through on a virtual clock; what is older is imported as history.
const LiveDays = 30

// World is the demo brand as one seed makes it.
type World struct {
	Options
	LiveFrom  time.Time // first instant that is lived through
	Products  []Product
	People    []*Person
	Partners  []string // customers who are partners
	Orders    []*Order // by time
	Events    []Event  // browsing in the live window, by time
	Aside     []Line   // source lines that are no orders
	Source    []Line
	DaysShift int
}

// Product is one SKU.
type Product struct {
	SKU, Name, Category string
	Tag, Retail         money.Fen
}

// Order is one document of the order import.
type Order struct {
	*Invoice
	PlacedAt   time.Time
	Touchpoint string
	Store      string
	Associate  string
	Account    *Account // nil for unidentified sales and partners
	Source     string
	SourceID   string
	ReturnOf   []string // per line; "" where unknown
}

// Event is one tracked event.
type Event struct {
	ID      string
	Key     string
	At      time.Time
	Account *Account
	SKU     string
}

// Options shape a world.
type Options struct {
	Seed  uint64
	Today clock.Day // the world stands at the beginning of this day
	// OpenID and UnionID give the ids that WeChat knows a person by, so that the stand-in of WeChat knows the same people.
	OpenID  func(appid, person string) string
	UnionID func(subject, person string) string
}

// New makes the world of a seed.
func New(o Options) (*World, error) {
	source, err := Source()
	if err != nil {
		return nil, err
	}
	w := &World{Options: o, Source: source}
	w.LiveFrom = w.Today.Start().AddDate(0, 0, -LiveDays)
	for _, l := range source {
		if l.Aside != "" {
			w.Aside = append(w.Aside, l)
		}
	}
	documents := invoices(source)
	w.shift(documents)
	w.Products = products(documents)
	retail := w.splitPartners(documents)
	g := newGenerator(w, retail)
	g.people()
	g.orders(documents)
	g.relations()
	g.browsing()
	return w, nil
}

// shift moves all dates by whole days so that the last is yesterday, then fills the weekday on which the shop never sold.
func (w *World) shift(documents []*Invoice) {
	last := clock.DayOf(documents[len(documents)-1].At)
	w.DaysShift = int(w.Today.Start().Sub(last.Start())/(24*time.Hour)) - 1
	var seen [7]bool
	for _, v := range documents {
		v.At = v.At.AddDate(0, 0, w.DaysShift)
		seen[v.At.Weekday()] = true
	}
	empty := slices.Index(seen[:], false)
	if empty < 0 {
		return
	}
	for _, v := range documents {
		if !v.Return && int(v.At.Weekday()) == (empty+1)%7 && hash("saturday", v.No)%2 == 0 {
			v.At = v.At.AddDate(0, 0, -1)
		}
	}
	slices.SortStableFunc(documents, func(a, b *Invoice) int { return a.At.Compare(b.At) })
}

func hash(parts ...string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write([]byte(p))
		_, _ = h.Write([]byte{0})
	}
	// FNV's low bits are weak on short inputs; one round of mixing repairs that.
	x := h.Sum64()
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	return x
}

// products makes the catalogue: the most frequent price is the retail price, the highest the tag price.
func products(documents []*Invoice) []Product {
	type seen struct {
		name   map[string]int
		prices map[money.Fen]int
	}
	all := map[string]*seen{}
	for _, v := range documents {
		for _, l := range v.Lines {
			if l.Kind != KindSale && l.Kind != KindGift {
				continue
			}
			s := all[l.SKU]
			if s == nil {
				s = &seen{map[string]int{}, map[money.Fen]int{}}
				all[l.SKU] = s
			}
			if l.Name != "" {
				s.name[l.Name]++
			}
			if l.Unit > 0 && l.Quantity > 0 {
				s.prices[l.Unit]++
			}
		}
	}
	out := make([]Product, 0, len(all))
	for sku, s := range all {
		p := Product{SKU: sku, Name: most(s.name), Retail: most(s.prices)}
		for price := range s.prices {
			p.Tag = max(p.Tag, price)
		}
		p.Category = category(p.Name)
		if zh, ok := chineseNames[sku]; ok {
			p.Name = zh
		}
		if p.Name == "" {
			p.Name = sku
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Product) int { return cmp.Compare(a.SKU, b.SKU) })
	return out
}

func most[K cmp.Ordered](counts map[K]int) K {
	var best K
	n := 0
	for k, c := range counts {
		if c > n || c == n && k < best {
			best, n = k, c
		}
	}
	return best
}

func category(name string) string {
	words := strings.FieldsFunc(strings.ToUpper(name), func(r rune) bool { return r == ' ' || r == ',' || r == '.' || r == '/' })
	for _, c := range categoryWords {
		for _, w := range words {
			if slices.Contains(strings.Fields(c.words), w) {
				return c.category
			}
		}
	}
	return "home"
}

// splitPartners sets the large buyers apart and returns the retail customers in the order of their first document.
func (w *World) splitPartners(documents []*Invoice) []string {
	type total struct {
		invoices int
		bought   money.Fen
		net      money.Fen
	}
	totals := map[string]*total{}
	var order []string
	for _, v := range documents {
		if v.Customer == "" {
			continue
		}
		t := totals[v.Customer]
		if t == nil {
			t = &total{}
			totals[v.Customer] = t
			order = append(order, v.Customer)
		}
		t.net += v.Net()
		if !v.Return {
			t.invoices++
			t.bought += v.Net()
		}
	}
	var retail []string
	for _, c := range order {
		t := totals[c]
		if t.net > 8_000*FenPerPound || t.invoices > 0 && t.bought > money.Fen(t.invoices)*800*FenPerPound {
			w.Partners = append(w.Partners, c)
		} else {
			retail = append(retail, c)
		}
	}
	return retail
}

// generator holds the random streams. Each concern has its own, so that a change of one leaves the others as they are.
type generator struct {
	w      *World
	retail []string
	byCust map[string]*Person
	first  map[string]time.Time
	used   map[string]bool // phones, openids and the like that are taken
}

func newGenerator(w *World, retail []string) *generator {
	return &generator{w: w, retail: retail, byCust: map[string]*Person{}, first: map[string]time.Time{}, used: map[string]bool{}}
}

func (g *generator) stream(name string) *rand.Rand {
	return rand.New(rand.NewPCG(g.w.Seed, hash("stream", name)))
}

// orders places every document at a touchpoint.
func (g *generator) orders(documents []*Invoice) {
	partner := map[string]bool{}
	for _, c := range g.w.Partners {
		partner[c] = true
	}
	returns := map[string][]time.Time{}
	for _, v := range documents {
		if v.Return && v.Customer != "" {
			returns[v.Customer] = append(returns[v.Customer], v.At)
		}
	}
	r := g.stream("orders")
	shops := stores()
	bought := map[string]map[string]string{} // customer → SKU → latest order
	for _, v := range documents {
		o := &Order{Invoice: v, PlacedAt: v.At}
		switch {
		case v.Customer == "":
			s := shops[r.IntN(len(shops))]
			o.Touchpoint, o.Source, o.Store = "pos", SourcePOS, s.Code
			o.Associate = s.Associates[r.IntN(len(s.Associates))]
		case partner[v.Customer]:
			o.Touchpoint, o.Source, o.SourceID = "b2b", SourceB2B, v.Customer
		default:
			p := g.byCust[v.Customer]
			a := p.buyers[r.IntN(len(p.buyers))]
			o.Account, o.Source, o.SourceID, o.Touchpoint = a, a.Source, a.ID, a.Source
			if a.Source == SourcePOS {
				o.Store = p.Store.Code
				o.Associate = p.Store.Associates[r.IntN(len(p.Store.Associates))]
			} else {
				o.PlacedAt = evening(v, returns[v.Customer], r)
			}
			if a.FirstOrder.IsZero() || o.PlacedAt.Before(a.FirstOrder) {
				a.FirstOrder = o.PlacedAt
			}
		}
		o.ReturnOf = make([]string, len(v.Lines))
		if v.Customer != "" {
			skus := bought[v.Customer]
			if skus == nil {
				skus = map[string]string{}
				bought[v.Customer] = skus
			}
			for i, l := range v.Lines {
				if l.Quantity > 0 {
					skus[l.SKU] = v.No
				} else {
					o.ReturnOf[i] = skus[l.SKU]
				}
			}
		}
		g.w.Orders = append(g.w.Orders, o)
	}
	slices.SortStableFunc(g.w.Orders, func(a, b *Order) int { return a.PlacedAt.Compare(b.PlacedAt) })
}

// evening moves an online purchase up to four hours later, not past 22:30 and not past a return.
func evening(v *Invoice, returns []time.Time, r *rand.Rand) time.Time {
	later := v.At.Add(time.Duration(r.IntN(241)) * time.Minute)
	local := later.In(clock.Shanghai)
	if v.Return || local.Day() != v.At.In(clock.Shanghai).Day() || local.Hour()*60+local.Minute() > 22*60+30 {
		return v.At
	}
	for _, back := range returns {
		if !back.Before(v.At) && !back.After(later) {
			return v.At
		}
	}
	return later
}

// browsing makes what people looked at in the live window: before their online purchases, and without buying.
func (g *generator) browsing() {
	r := g.stream("browsing")
	n := 0
	add := func(a *Account, key, sku string, at time.Time) {
		if at.Before(g.w.LiveFrom) || !at.Before(g.w.Today.Start()) || at.Before(a.RegisteredAt) {
			return
		}
		n++
		g.w.Events = append(g.w.Events, Event{ID: fmt.Sprintf("ev-%d-%06d", g.w.Seed, n), Key: key, At: at, Account: a, SKU: sku})
	}
	for _, o := range g.w.Orders {
		if o.Account == nil || o.Return || o.Source == SourcePOS || o.PlacedAt.Before(g.w.LiveFrom) {
			continue
		}
		for _, l := range o.Lines[:min(3, len(o.Lines))] {
			if l.Kind != KindSale {
				continue
			}
			looked := o.PlacedAt.Add(-time.Duration(5+r.IntN(115)) * time.Minute)
			add(o.Account, "product_viewed", l.SKU, looked)
			add(o.Account, "cart_added", l.SKU, looked.Add(time.Duration(1+r.IntN(4))*time.Minute))
		}
	}
	for _, p := range g.w.People {
		for _, a := range p.Accounts {
			if (a.Source == SourceMini || a.Source == SourceApp) && r.IntN(4) == 0 {
				for range 1 + r.IntN(3) {
					at := g.w.LiveFrom.Add(time.Duration(r.IntN(LiveDays*24*60)) * time.Minute)
					add(a, "product_viewed", g.w.Products[r.IntN(len(g.w.Products))].SKU, at)
				}
			}
		}
	}
	slices.SortStableFunc(g.w.Events, func(a, b Event) int { return a.At.Compare(b.At) })
}
