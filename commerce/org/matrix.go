package org

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/member"
)

// Service is one of the twelve things a member may want of a touchpoint.
type Service string

// The services, in the order a member meets them.
const (
	ServiceBrandPromotion Service = "brand_promotion" // 品牌宣传
	ServiceNewProduct     Service = "new_product"     // 新品推广
	ServicePush           Service = "push"            // 营销推送
	ServiceTraffic        Service = "traffic"         // 流量吸引
	ServiceCapture        Service = "capture"         // 会员收集
	ServiceShopping       Service = "shopping"        // 挑选购物
	ServiceSalesService   Service = "sales_service"   // 销售服务
	ServiceCheckout       Service = "checkout"        // 结算服务
	ServiceDeliveryPickup Service = "delivery_pickup" // 配送取货
	ServiceTrackCancel    Service = "track_cancel"    // 跟踪取消
	ServiceReturns        Service = "returns"         // 退换服务
	ServiceFeedback       Service = "feedback"        // 需求反馈
)

// Services lists the services in their order, named.
var Services = []struct {
	Service Service
	Name    fault.Text
}{
	{ServiceBrandPromotion, fault.Text{ZH: "品牌宣传", EN: "brand promotion"}},
	{ServiceNewProduct, fault.Text{ZH: "新品推广", EN: "new products"}},
	{ServicePush, fault.Text{ZH: "营销推送", EN: "marketing messages"}},
	{ServiceTraffic, fault.Text{ZH: "流量吸引", EN: "attracting visitors"}},
	{ServiceCapture, fault.Text{ZH: "会员收集", EN: "joining as a member"}},
	{ServiceShopping, fault.Text{ZH: "挑选购物", EN: "choosing goods"}},
	{ServiceSalesService, fault.Text{ZH: "销售服务", EN: "sales service"}},
	{ServiceCheckout, fault.Text{ZH: "结算服务", EN: "checkout"}},
	{ServiceDeliveryPickup, fault.Text{ZH: "配送取货", EN: "delivery and pick-up"}},
	{ServiceTrackCancel, fault.Text{ZH: "跟踪取消", EN: "tracking and cancelling"}},
	{ServiceReturns, fault.Text{ZH: "退换服务", EN: "returns and exchanges"}},
	{ServiceFeedback, fault.Text{ZH: "需求反馈", EN: "feedback"}},
}

// Offering is how a touchpoint does a service.
type Offering string

// The ways to offer a service.
const (
	OfferingSelf     Offering = "self"      // does it itself
	OfferingPlatform Offering = "platform"  // within the rules of another: a platform, or HQ that fulfils
	OfferingHandOver Offering = "hand_over" // hands over to another touchpoint by link or QR code
	OfferingNone     Offering = "none"
)

// Done reports whether the service is done at the touchpoint itself.
func (o Offering) Done() bool { return o == OfferingSelf || o == OfferingPlatform }

// Place is where a member stands: a touchpoint, and if known the account (shop, official account) and the store.
type Place struct {
	Touchpoint member.Touchpoint
	Account    string
	Store      string
}

// Cell is what a place does about a service.
type Cell struct {
	Touchpoint member.Touchpoint `json:"touchpoint" validate:"code"`
	Account    string            `json:"account,omitempty" validate:"max=100" doc:"shop or account; empty means all of them"`
	Store      string            `json:"store,omitempty" validate:"max=64" doc:"code of the store; empty means all of them"`
	Service    Service           `json:"service" enum:"brand_promotion,new_product,push,traffic,capture,shopping,sales_service,checkout,delivery_pickup,track_cancel,returns,feedback"`
	Mode       Offering          `json:"mode" enum:"self,platform,hand_over,none"`
	HandoverTo member.Touchpoint `json:"handover_to,omitempty" doc:"with hand_over: the touchpoint that does it"`
	Params     map[string]any    `json:"params,omitempty" doc:"of the service, such as ways of delivery, cut-off and capacity"`
	ValidFrom  time.Time         `json:"valid_from,omitzero" doc:"zero in cells of the default matrix"`
}

// The matrix of domain experience: one line for each touchpoint, one column for each service.
//
//go:embed data/services.csv
var servicesCSV []byte

// touchpoint is a line of the default matrix.
type touchpoint struct {
	code  member.Touchpoint
	name  fault.Text
	class string // own, marketplace, distributor: who stands behind it, for returns
	near  []member.Touchpoint
	cells map[Service]Cell
}

// defaults is the default matrix in the order of its file.
type defaults struct {
	list []*touchpoint
	by   map[member.Touchpoint]*touchpoint
}

func parseDefaults(file []byte) (*defaults, error) {
	lines, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read the matrix of services: %w", err)
	}
	const first = 5 // column of the first service
	d := &defaults{by: map[member.Touchpoint]*touchpoint{}}
	for i, line := range lines {
		if len(line) != first+len(Services) {
			return nil, fmt.Errorf("matrix of services: line %d has %d columns", i+1, len(line))
		}
		if i == 0 {
			for j, s := range Services {
				if line[first+j] != string(s.Service) {
					return nil, fmt.Errorf("matrix of services: column %d is %q, not %q", first+j+1, line[first+j], s.Service)
				}
			}
			continue
		}
		t := &touchpoint{code: member.Touchpoint(line[0]), name: fault.Text{ZH: line[1], EN: line[2]}, class: line[3], cells: map[Service]Cell{}}
		for n := range strings.SplitSeq(line[4], "|") {
			t.near = append(t.near, member.Touchpoint(n))
		}
		for j, s := range Services {
			mode, to, _ := strings.Cut(line[first+j], ":")
			c := Cell{Touchpoint: t.code, Service: s.Service, Mode: Offering(mode), HandoverTo: member.Touchpoint(to)}
			if !slices.Contains(offerings, c.Mode) || (c.Mode == OfferingHandOver) != (to != "") {
				return nil, fmt.Errorf("matrix of services: %s cannot offer %s as %q", t.code, s.Service, line[first+j])
			}
			t.cells[s.Service] = c
		}
		d.list, d.by[t.code] = append(d.list, t), t
	}
	return d, nil
}

var offerings = []Offering{OfferingSelf, OfferingPlatform, OfferingHandOver, OfferingNone}

// Name returns what people call a touchpoint; the code where the matrix does not know it.
func (d *defaults) name(t member.Touchpoint) fault.Text {
	if known := d.by[t]; known != nil {
		return known.name
	}
	return fault.Text{ZH: string(t), EN: string(t)}
}

func nameOf(s Service) fault.Text {
	for _, known := range Services {
		if known.Service == s {
			return known.Name
		}
	}
	return fault.Text{ZH: string(s), EN: string(s)}
}

// scope is what a cell is filed under.
type scope struct {
	Place
	Service Service
}

// table answers from the rows of one moment over the defaults.
type table struct {
	defaults *defaults
	rows     map[scope][]Cell // newest first
}

func newTable(d *defaults, cells []Cell) table {
	t := table{d, map[scope][]Cell{}}
	for _, c := range cells {
		k := scope{Place{c.Touchpoint, c.Account, c.Store}, c.Service}
		t.rows[k] = append(t.rows[k], c)
	}
	for _, list := range t.rows {
		slices.SortFunc(list, func(a, b Cell) int { return b.ValidFrom.Compare(a.ValidFrom) })
	}
	return t
}

// cell is what holds at a place: of the store, of the account, of the touchpoint, of the default matrix, in this order.
// What nobody has set and the defaults do not know is not offered.
func (t table) cell(p Place, s Service, at time.Time) Cell {
	for _, k := range []Place{p, {p.Touchpoint, "", p.Store}, {p.Touchpoint, p.Account, ""}, {p.Touchpoint, "", ""}} {
		for _, c := range t.rows[scope{k, s}] {
			if !c.ValidFrom.After(at) {
				return c
			}
		}
	}
	if known := t.defaults.by[p.Touchpoint]; known != nil {
		if c, ok := known.cells[s]; ok {
			return c
		}
	}
	return Cell{Touchpoint: p.Touchpoint, Service: s, Mode: OfferingNone}
}

// where lists the touchpoints that do the service, seen from a place: where it hands over to, its neighbours, the others. An
// account belongs to its touchpoint and does not carry over; a store does.
func (t table) where(p Place, s Service, at time.Time) []member.Touchpoint {
	var order []member.Touchpoint
	if c := t.cell(p, s, at); c.Mode == OfferingHandOver {
		order = append(order, c.HandoverTo)
	}
	if known := t.defaults.by[p.Touchpoint]; known != nil {
		order = append(order, p.Touchpoint)
		order = append(order, known.near...)
	}
	for _, k := range t.defaults.list {
		order = append(order, k.code)
	}
	var out []member.Touchpoint
	for _, code := range order {
		there := Place{Touchpoint: code, Store: p.Store}
		if code == p.Touchpoint {
			there.Account = p.Account
		}
		if !slices.Contains(out, code) && t.cell(there, s, at).Mode.Done() {
			out = append(out, code)
		}
	}
	return out
}

// offer is the cell, or the fault that says where to go instead.
func (t table) offer(p Place, s Service, at time.Time) (Cell, error) {
	c := t.cell(p, s, at)
	if c.Mode.Done() {
		return c, nil
	}
	here, what, nearest := t.defaults.name(p.Touchpoint), nameOf(s), fault.Text{}
	refusal := ErrNotOffered
	switch list := t.where(p, s, at); {
	case len(list) == 0:
		refusal = ErrOfferedNowhere
	case c.Mode == OfferingHandOver:
		refusal, nearest = ErrHandedOver, t.defaults.name(list[0])
	default:
		nearest = t.defaults.name(list[0])
	}
	return c, refusal.With("here", here, "service", what, "nearest", nearest)
}
