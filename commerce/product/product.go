package product

import (
	"strings"

	"github.com/lianke/lianke/internal/money"
)

// Status is where a SKU is in its life.
type Status string

// The statuses.
const (
	StatusDraft     Status = "draft"
	StatusInReview  Status = "in_review"
	StatusActive    Status = "active"
	StatusInactive  Status = "inactive"  // temporarily not for sale
	StatusDelisting Status = "delisting" // not for sale any more; open orders and returns go on
	StatusArchived  Status = "archived"
)

// SKU is one thing that is sold, with the product it belongs to. Prices are in fen; nil means not set.
type SKU struct {
	SKU         string
	SPU         string
	Barcodes    []string
	Name        string
	Category    string
	Brand       string
	Unit        string
	TagPrice    *money.Fen
	RetailPrice *money.Fen
	Status      Status
	Attrs       map[string]string
	Gift        *bool  // nil keeps what the catalogue says
	TaxCode     string // 19 digits; "" keeps what the catalogue says
}

// Facts are what an order line copies from the catalogue.
type Facts struct {
	SKU      string
	Category string
	Brand    string
}

// statusOf reads a status as catalogues spell it.
func statusOf(v string) (Status, bool) {
	switch strings.ToLower(v) {
	case "", "active", "on_sale", "onsale", "listed", "1", "true", "上架", "在售", "正常":
		return StatusActive, true
	case "inactive", "off_sale", "delisted", "0", "false", "下架", "停用":
		return StatusInactive, true
	case "draft", "草稿", "待上架":
		return StatusDraft, true
	case "in_review", "审核中", "待审核":
		return StatusInReview, true
	case "delisting", "下架中", "清仓":
		return StatusDelisting, true
	case "archived", "discontinued", "淘汰", "停产":
		return StatusArchived, true
	}
	return "", false
}
