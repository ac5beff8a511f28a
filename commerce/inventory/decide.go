package inventory

import (
	"slices"
	"time"
)

// wish is a Want of one of several baskets.
type wish struct {
	Want
	ref        Ref
	touchpoint string
	expires    time.Time
}

// shelf is a level of good stock that is locked: what of it can be promised.
type shelf struct {
	SKU      string
	Location string
	Owner    string
	Free     int64
	Waited   int64 // microseconds, for the lock
}

// quota is a locked quota of a pool that wishes draw on.
type quota struct {
	Pool       string
	SKU        string
	Location   string // of the wishes, in the pool
	Touchpoint string
	Kind       string
	Rest       int64 // quantity − used
	Free       int64 `db:"-"` // what can be promised of the SKU in the whole pool
}

// part is what a wish takes from one owner.
type part struct {
	wish     int
	owner    string
	quantity int64
	quota    int64
}

// charge is what a basket draws on a quota.
type charge struct{ pool, sku string }

// decision is what becomes of wishes.
type decision struct {
	held      map[int][]Reservation // reserved before
	parts     []part
	short     map[int]Shortage
	limited   map[string]bool // SKUs that need the normal lane
	overQuota Shortages
	charges   map[charge]int64
	left      map[[2]string]int64 // can be promised afterwards, where something was wanted
}

// decide says which wishes are granted, from what is locked. With whole it is all of them or, where there are shortages, none;
// without, each in its turn. Who names an owner comes before those who do not.
func decide(wishes []wish, shelves []shelf, before []Reservation, quotas []quota, whole bool, touchpoint string) decision {
	d := decision{
		held: map[int][]Reservation{}, short: map[int]Shortage{}, limited: map[string]bool{}, charges: map[charge]int64{}, left: map[[2]string]int64{},
	}
	at := map[[2]string][]*shelf{}
	for i := range shelves {
		s := &shelves[i]
		at[[2]string{s.SKU, s.Location}] = append(at[[2]string{s.SKU, s.Location}], s)
		d.left[[2]string{s.SKU, s.Location}] += s.Free
	}
	var fresh []int
	for i, w := range wishes {
		for _, r := range before {
			if r.Ref == w.ref && r.Line == w.Line && r.SKU == w.SKU && r.Location == w.Location && (w.Owner == "" || r.Owner == w.Owner) {
				d.held[i] = append(d.held[i], r)
			}
		}
		if len(d.held[i]) == 0 {
			fresh = append(fresh, i)
		}
	}
	// Named owners first, otherwise in turn.
	slices.SortStableFunc(fresh, func(a, b int) int {
		switch namedA, namedB := wishes[a].Owner != "", wishes[b].Owner != ""; {
		case namedA == namedB:
			return 0
		case namedA:
			return -1
		}
		return 1
	})
	if whole {
		d.shortages(wishes, fresh, at)
		d.limits(wishes, fresh, quotas, touchpoint)
		if len(d.short) > 0 || len(d.overQuota) > 0 {
			return d
		}
	} else {
		for _, q := range quotas {
			d.limited[q.SKU] = true
		}
	}
	for _, i := range fresh {
		w := wishes[i]
		if d.limited[w.SKU] {
			continue
		}
		d.grant(i, w, at[[2]string{w.SKU, w.Location}])
	}
	if whole {
		d.charge(wishes, quotas, touchpoint)
	}
	return d
}

// grant takes what the wish wants from the shelves, or notes that it is not there.
func (d *decision) grant(i int, w wish, shelves []*shelf) {
	var free int64
	for _, s := range shelves {
		if w.Owner == "" || s.Owner == w.Owner {
			free += s.Free
		}
	}
	if free < w.Quantity {
		d.short[i] = Shortage{SKU: w.SKU, Location: w.Location, Wanted: w.Quantity, Available: free}
		return
	}
	rest := w.Quantity
	for _, s := range shelves {
		n := min(rest, s.Free)
		if n == 0 || w.Owner != "" && s.Owner != w.Owner {
			continue
		}
		s.Free -= n
		rest -= n
		d.parts = append(d.parts, part{wish: i, owner: s.Owner, quantity: n})
	}
	d.left[[2]string{w.SKU, w.Location}] -= w.Quantity
}

// shortages sums equal SKUs of a basket before it compares them with what is there.
func (d *decision) shortages(wishes []wish, fresh []int, at map[[2]string][]*shelf) {
	type asked struct{ sku, location, owner string }
	wanted := map[asked]int64{}
	for _, i := range fresh {
		w := wishes[i]
		wanted[asked{w.SKU, w.Location, w.Owner}] += w.Quantity
	}
	for _, i := range fresh {
		w := wishes[i]
		var available int64
		for _, s := range at[[2]string{w.SKU, w.Location}] {
			switch w.Owner {
			case s.Owner:
				available += s.Free
			case "":
				available += max(s.Free-wanted[asked{w.SKU, w.Location, s.Owner}], 0)
			}
		}
		if sum := wanted[asked{w.SKU, w.Location, w.Owner}]; sum > available {
			d.short[i] = Shortage{SKU: w.SKU, Location: w.Location, Wanted: sum, Available: available}
		}
	}
}

// inPool sums what is wanted of a pool.
func inPool(wishes []wish, of func(wish) int64, q quota, quotas []quota) int64 {
	var n int64
	for _, w := range wishes {
		if w.SKU == q.SKU && slices.ContainsFunc(quotas, func(o quota) bool { return o.Pool == q.Pool && o.SKU == w.SKU && o.Location == w.Location }) {
			n += of(w)
		}
	}
	return n
}

// limits compares what is wanted of a pool with what the touchpoint may have of it: what others have not for themselves, and
// not above its own share.
func (d *decision) limits(wishes []wish, fresh []int, quotas []quota, touchpoint string) {
	chosen := make([]wish, 0, len(fresh))
	for _, i := range fresh {
		chosen = append(chosen, wishes[i])
	}
	seen := map[charge]bool{}
	for _, q := range quotas {
		k := charge{q.Pool, q.SKU}
		if seen[k] {
			continue
		}
		seen[k] = true
		wanted := inPool(chosen, func(w wish) int64 { return w.Quantity }, q, quotas)
		limit, own := q.Free, int64(0)
		others := map[string]bool{}
		for _, o := range quotas {
			if o.Pool != q.Pool || o.SKU != q.SKU || others[o.Touchpoint] {
				continue
			}
			others[o.Touchpoint] = true
			switch {
			case o.Touchpoint == touchpoint:
				own = o.Rest
			case o.Kind == "exclusive":
				limit -= o.Rest
			}
			if o.Touchpoint == touchpoint && o.Kind == "shared" {
				limit = min(limit, o.Rest)
			}
		}
		if limit = max(limit, 0); wanted > limit {
			d.overQuota = append(d.overQuota, Shortage{SKU: q.SKU, Location: q.Pool, Wanted: wanted, Available: limit, Quota: true})
		}
		if n := min(wanted, own); n > 0 {
			d.charges[k] = n
		}
	}
}

// charge spreads what is drawn on quotas over the parts, so that each gives back its own when it is released.
func (d *decision) charge(wishes []wish, quotas []quota, touchpoint string) {
	for k, rest := range d.charges {
		for i := range d.parts {
			p := &d.parts[i]
			w := wishes[p.wish]
			if w.SKU != k.sku || !slices.ContainsFunc(quotas, func(q quota) bool { return q.Pool == k.pool && q.SKU == w.SKU && q.Location == w.Location }) {
				continue
			}
			p.quota = min(p.quantity, rest)
			rest -= p.quota
		}
	}
}
