package org

import (
	"strings"
)

// Kind is what a unit is.
type Kind string

// The kinds.
const (
	KindHQ        Kind = "hq"
	KindBranch    Kind = "branch"
	KindPartner   Kind = "partner" // distributor, franchisee, agency
	KindStore     Kind = "store"
	KindWarehouse Kind = "warehouse"
)

// Unit is a node of the tree.
type Unit struct {
	Code      string
	Parent    string // "" for a root
	Name      string
	Kind      Kind
	Entity    string // "" if none is known
	Province  string
	City      string
	District  string
	Address   string
	Longitude string // decimal degrees, GCJ-02 as Chinese maps give them; "" if unknown
	Latitude  string
	Attrs     map[string]string
}

// Entity is a legal and tax subject.
type Entity struct {
	Code         string
	Name         string
	TaxNo        string
	TaxpayerKind string // general, small_scale, individual, overseas or ""
	Attrs        map[string]string
}

func kindOf(v string) (Kind, bool) {
	switch strings.ToLower(v) {
	case "hq", "headquarters", "总部":
		return KindHQ, true
	case "branch", "region", "department", "分公司", "大区", "部门":
		return KindBranch, true
	case "partner", "distributor", "franchisee", "agency", "dealer", "经销商", "加盟商", "代理商":
		return KindPartner, true
	case "", "store", "shop", "counter", "门店", "专柜":
		return KindStore, true
	case "warehouse", "仓库":
		return KindWarehouse, true
	}
	return "", false
}

func taxpayerKindOf(v string) (string, bool) {
	switch strings.ToLower(v) {
	case "":
		return "", true
	case "general", "一般纳税人", "一般":
		return "general", true
	case "small_scale", "small", "小规模纳税人", "小规模":
		return "small_scale", true
	case "individual", "个体工商户", "个体":
		return "individual", true
	case "overseas", "境外":
		return "overseas", true
	}
	return "", false
}

// cyclic reports whether giving code this parent would close a cycle in the tree.
func cyclic(parents map[string]string, code, parent string) bool {
	for steps := 0; parent != "" && steps <= len(parents); steps++ {
		if parent == code {
			return true
		}
		parent = parents[parent]
	}
	return false
}
