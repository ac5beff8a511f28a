package demo

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Owned says that an identifier was a person's from one instant to another.
type Owned struct {
	NS, Scope, Value string
	Person           int
	From, To         time.Time // To is zero while it still is
	// Component numbers the parts of the person that evidence connects: two identifiers of one person in different
	// components cannot be known to be one person's.
	Component int
	// Scored is false for identifiers that belong to nobody alone: a phone that a household shares, a device.
	Scored bool
}

// Truth lists who owns which identifier, person by person, as of the end of the live window.
func (w *World) Truth() []Owned {
	var all []Owned
	for _, p := range w.People {
		all = append(all, truthOf(p)...)
	}
	return all
}

type identifier struct{ ns, scope, value string }

func truthOf(p *Person) []Owned {
	index := map[identifier]int{}
	var owned []Owned
	var parent []int
	find := func(i int) int {
		for parent[i] != i {
			i = parent[i]
		}
		return i
	}
	note := func(k identifier, from time.Time, scored bool) int {
		i, ok := index[k]
		if !ok {
			i = len(owned)
			index[k] = i
			owned = append(owned, Owned{NS: k.ns, Scope: k.scope, Value: k.value, Person: p.No, From: from, Scored: scored})
			parent = append(parent, i)
		}
		return i
	}
	for _, a := range p.Accounts {
		account := note(identifier{"source", a.Source, a.ID}, a.RegisteredAt, true)
		for n, row := range a.Rows {
			for _, k := range row.identifiers() {
				scored := true
				switch k.ns {
				case "phone":
					// A number that went to somebody else is no longer this person's; one that two people use is nobody's.
					scored = p.sharesIn == 0 && k.value == p.Phone
				case "device":
					scored = false
				}
				i := note(k, row.At, scored)
				if n+1 < len(a.Rows) && !a.Rows[n+1].has(k) {
					owned[i].To = a.Rows[n+1].At
				}
				parent[find(i)] = find(account)
			}
		}
	}
	for i := range owned {
		owned[i].Component = find(i)
	}
	return owned
}

func (r Row) identifiers() []identifier {
	var out []identifier
	add := func(ns, scope, value string) {
		if value != "" {
			out = append(out, identifier{ns, scope, value})
		}
	}
	add("phone", "", r.Phone)
	add("email", "", r.Email)
	add("card", "", r.Card)
	add("wechat_unionid", r.Subject, r.UnionID)
	add("wechat_openid", r.AppID, r.OpenID)
	add("tmall_ouid", r.TmallShop, r.OUID)
	add("tmall_omid", "", r.OMID)
	add("jd_xid", r.JDShop, r.XID)
	add("device", "", r.Device)
	return out
}

func (r Row) has(k identifier) bool {
	for _, own := range r.identifiers() {
		if own == k {
			return true
		}
	}
	return false
}

// WriteTruth writes the truth as truth.csv into dir.
func (w *World) WriteTruth(dir string) (string, error) {
	truth := w.Truth()
	rows := make([][]string, len(truth))
	for i, o := range truth {
		rows[i] = []string{strconv.Itoa(o.Person), o.NS, o.Scope, o.Value, stamp(o.From), stamp(o.To), strconv.Itoa(o.Component), strconv.FormatBool(o.Scored)}
	}
	path := filepath.Join(dir, "truth.csv")
	return path, writeCSV(path, []string{"person", "ns", "scope", "value", "from", "to", "component", "scored"}, rows)
}

// Score compares a partition with the truth, over pairs of scored identifiers.
type Score struct {
	TruePairs    int64   `json:"true_pairs"`    // of one person and connected by evidence
	FoundPairs   int64   `json:"found_pairs"`   // put into one member
	CorrectPairs int64   `json:"correct_pairs"` // of one person among those found
	Precision    float64 `json:"precision"`
	Recall       float64 `json:"recall"`
	// Mistakes describes the first few people who were joined or torn, by the kinds of their identifiers.
	Mistakes []string `json:"mistakes,omitempty"`
}

const mistakesKept = 10

// ScorePartition scores roots, which gives the member of an identifier; identifiers it does not know count as alone.
func (w *World) ScorePartition(roots func(ns, scope, value string) (int64, bool)) Score {
	type group struct {
		root   int64
		person int
	}
	type part struct{ person, component int }
	perRoot, perPerson := map[int64]int64{}, map[group]int64{}
	perPart, perPartRoot := map[part]int64{}, map[struct {
		part
		root int64
	}]int64{}
	unknown := int64(0)
	for _, o := range w.Truth() {
		if !o.Scored {
			continue
		}
		root, ok := roots(o.NS, o.Scope, o.Value)
		if !ok {
			unknown--
			root = unknown
		}
		p := part{o.Person, o.Component}
		perRoot[root]++
		perPerson[group{root, o.Person}]++
		perPart[p]++
		perPartRoot[struct {
			part
			root int64
		}{p, root}]++
	}
	s := Score{Mistakes: mistakes(w.Truth(), roots)}
	pairs := func(n int64) int64 { return n * (n - 1) / 2 }
	var recalled int64
	for _, n := range perRoot {
		s.FoundPairs += pairs(n)
	}
	for _, n := range perPerson {
		s.CorrectPairs += pairs(n)
	}
	for _, n := range perPart {
		s.TruePairs += pairs(n)
	}
	for _, n := range perPartRoot {
		recalled += pairs(n)
	}
	s.Precision, s.Recall = ratio(s.CorrectPairs, s.FoundPairs), ratio(recalled, s.TruePairs)
	return s
}

// mistakes lists members that hold several people, then people whose connected parts lie in several members.
func mistakes(truth []Owned, roots func(ns, scope, value string) (int64, bool)) []string {
	holds, lies := map[int64]map[string]bool{}, map[string]map[string]bool{}
	people := map[int64]map[int]bool{}
	var members []int64
	var parts []string
	for _, o := range truth {
		root, ok := roots(o.NS, o.Scope, o.Value)
		if !o.Scored || !ok {
			continue
		}
		if people[root] == nil {
			people[root], holds[root] = map[int]bool{}, map[string]bool{}
			members = append(members, root)
		}
		people[root][o.Person] = true
		holds[root][fmt.Sprintf("%d:%s/%s", o.Person, o.NS, o.Scope)] = true
		part := fmt.Sprintf("person %d part %d", o.Person, o.Component)
		if lies[part] == nil {
			lies[part] = map[string]bool{}
			parts = append(parts, part)
		}
		lies[part][fmt.Sprintf("%d:%s/%s", root, o.NS, o.Scope)] = true
	}
	var out []string
	for _, m := range members {
		if len(people[m]) > 1 && len(out) < mistakesKept/2 {
			out = append(out, fmt.Sprintf("member %d holds several people: %s", m, strings.Join(slices.Sorted(maps.Keys(holds[m])), " ")))
		}
	}
	for _, p := range parts {
		in := map[string]bool{}
		for k := range lies[p] {
			root, _, _ := strings.Cut(k, ":")
			in[root] = true
		}
		if len(in) > 1 && len(out) < mistakesKept {
			out = append(out, fmt.Sprintf("%s lies in several members: %s", p, strings.Join(slices.Sorted(maps.Keys(lies[p])), " ")))
		}
	}
	return out
}

func ratio(a, b int64) float64 {
	if b == 0 {
		return 1
	}
	return float64(a) / float64(b)
}
