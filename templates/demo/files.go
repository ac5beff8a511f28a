package demo

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/lianke/lianke/internal/clock"
)

// File is one file of the import contract.
type File struct {
	Kind string // of lianke import
	Path string
	Rows int
}

// WriteMasterData writes entities, organisation and products into dir.
func (w *World) WriteMasterData(dir string) ([]File, error) {
	var entities, units, skus [][]string
	for _, e := range Entities {
		entities = append(entities, []string{e.Code, e.Name, e.TaxNo, e.Taxpayer})
	}
	for _, o := range Organisation {
		units = append(units, []string{o.Code, o.Parent, o.Name, o.Kind, o.Entity, o.Province, o.City, o.District, "", o.Longitude, o.Latitude})
	}
	for _, p := range w.Products {
		skus = append(skus, []string{p.SKU, p.SKU, p.Name, p.Category, "知更集", "件",
			strconv.FormatInt(int64(p.Tag), 10), strconv.FormatInt(int64(p.Retail), 10), "active"})
	}
	return writeAll(dir, []table{
		{"entities", "entities.csv", []string{"code", "name", "tax_no", "taxpayer_kind"}, entities},
		{"org", "org.csv", []string{"code", "parent", "name", "kind", "entity", "province", "city", "district", "address", "longitude", "latitude"}, units},
		{"products", "products.csv", []string{"sku", "spu", "name", "category", "brand", "unit", "tag_price_fen", "retail_price_fen", "status"}, skus},
	})
}

var memberColumns = []string{"source", "source_id", "registered_at", "updated_at", "name", "gender", "birthday", "phone", "email", "card_no",
	"wechat_subject", "wechat_unionid", "wechat_appid", "wechat_openid", "tmall_shop", "tmall_ouid", "tmall_omid", "jd_shop", "jd_xid",
	"device_id", "province", "city", "home_store", "consent.sms", "consent.email", "consent.wechat", "consent.miniprogram"}

var orderColumns = []string{"order_no", "line_no", "touchpoint", "store", "associate", "placed_at", "paid_at", "source", "source_id",
	"sku", "quantity", "unit_price_fen", "discount_fen", "coupon_code", "return_of", "kind"}

var eventColumns = []string{"message_id", "event", "occurred_at", "touchpoint", "source", "source_id", "props"}

// WriteSlice writes what happened in [from, to) into dir: member rows, orders and events. Kinds without rows are left out.
func (w *World) WriteSlice(dir string, from, to time.Time) ([]File, error) {
	in := func(at time.Time) bool { return !at.Before(from) && at.Before(to) }
	var members, orders, events [][]string
	for _, p := range w.People {
		for _, a := range p.Accounts {
			for _, row := range a.Rows {
				if in(row.At) {
					members = append(members, memberRecord(p, a, row))
				}
			}
		}
	}
	for _, o := range w.Orders {
		if in(o.PlacedAt) {
			orders = append(orders, orderRecords(o)...)
		}
	}
	for _, e := range w.Events {
		if in(e.At) {
			record, err := eventRecord(e)
			if err != nil {
				return nil, err
			}
			events = append(events, record)
		}
	}
	return writeAll(dir, []table{
		{"members", "members.csv", memberColumns, members},
		{"events", "events.csv", eventColumns, events},
		{"orders", "orders.csv", orderColumns, orders},
	})
}

// stamp renders an instant as the import contract wants it.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(clock.Shanghai).Format(time.RFC3339)
}

func memberRecord(p *Person, a *Account, row Row) []string {
	consent := func(v string) string {
		if v == "" {
			return ""
		}
		return v + "@" + stamp(row.At)
	}
	return []string{a.Source, a.ID, stamp(a.RegisteredAt), stamp(row.At), row.Name, p.Gender, p.Birthday, row.Phone, row.Email, row.Card,
		row.Subject, row.UnionID, row.AppID, row.OpenID, row.TmallShop, row.OUID, row.OMID, row.JDShop, row.XID,
		row.Device, p.Province, p.City, p.Store.Code, consent(row.ConsentSMS), consent(row.ConsentEmail), consent(row.ConsentWeChat), consent(row.ConsentMini)}
}

func orderRecords(o *Order) [][]string {
	out := make([][]string, len(o.Lines))
	for i, l := range o.Lines {
		out[i] = []string{o.No, strconv.Itoa(i + 1), o.Touchpoint, o.Store, o.Associate, stamp(o.PlacedAt), stamp(o.PlacedAt), o.Source, o.SourceID,
			l.SKU, strconv.FormatInt(l.Quantity, 10), strconv.FormatInt(int64(l.Unit), 10), "0", "", o.ReturnOf[i], string(l.Kind)}
	}
	return out
}

func eventRecord(e Event) ([]string, error) {
	props, err := json.Marshal(map[string]any{"sku": e.SKU})
	if err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	return []string{e.ID, e.Key, stamp(e.At), e.Account.Source, e.Account.Source, e.Account.ID, string(props)}, nil
}

type table struct {
	kind, name string
	columns    []string
	rows       [][]string
}

func writeAll(dir string, tables []table) ([]File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder for demo files: %w", err)
	}
	var files []File
	for _, t := range tables {
		if len(t.rows) == 0 {
			continue
		}
		path := filepath.Join(dir, t.name)
		if err := writeCSV(path, t.columns, t.rows); err != nil {
			return nil, err
		}
		files = append(files, File{Kind: t.kind, Path: path, Rows: len(t.rows)})
	}
	return files, nil
}

// writeCSV writes a file that only its owner may read: it holds personal data.
func writeCSV(path string, columns []string, rows [][]string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write demo file: %w", err)
	}
	defer f.Close()
	b := bufio.NewWriterSize(f, 1<<16)
	c := csv.NewWriter(b)
	if err := c.Write(columns); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := c.WriteAll(rows); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Close()
}
