package demo

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/money"
)

//go:embed data/online_retail.csv.gz
var onlineRetail []byte

// FenPerPound is the demo's rate: £1 = ¥10. The file has prices with three decimals, so any rate that is not a multiple
// of 1,000 fen would round.
const FenPerPound = 1000

// Kind of an order line, as the import contract names it.
type Kind string

// The kinds of lines that become orders, and those that are set aside.
const (
	KindSale    Kind = "sale"
	KindGift    Kind = "gift"
	KindFreight Kind = "freight"
	KindFee     Kind = "fee" // gift vouchers and discounts
)

// Reason why a line is set aside.
type Reason string

// The reasons.
const (
	AsideStock      Reason = "stock_correction" // 库存调整
	AsideBadDebt    Reason = "bad_debt"         // 坏账
	AsideCommission Reason = "commission"       // 平台佣金
	AsideBank       Reason = "bank_charges"     // 支付手续费
	AsideDonation   Reason = "donation"         // 公益捐赠
	AsideSample     Reason = "sample"           // 样品领用
	AsideManual     Reason = "manual"           // 手工调整
	AsideMistake    Reason = "mistaken_order"   // 误单拦截
)

// Line is one line of the source file, in fen.
type Line struct {
	Invoice  string
	SKU      string
	Name     string
	Quantity int64
	Unit     money.Fen
	At       time.Time // London wall clock, read as Shanghai's
	Customer string    // "" is an unidentified sale
	Country  string
	Kind     Kind   // of a line that becomes an order line
	Aside    Reason // of a line that does not
}

// Amount is quantity × unit price.
func (l Line) Amount() money.Fen { return money.Fen(l.Quantity) * l.Unit }

// Return says whether the line belongs to a return document.
func (l Line) Return() bool { return strings.HasPrefix(l.Invoice, "C") }

// Source reads the embedded file, in file order, with every line classified.
func Source() ([]Line, error) {
	zr, err := gzip.NewReader(bytes.NewReader(onlineRetail))
	if err != nil {
		return nil, fmt.Errorf("open online retail: %w", err)
	}
	r := csv.NewReader(zr)
	r.ReuseRecord = true
	if _, err := r.Read(); err != nil {
		return nil, fmt.Errorf("read online retail header: %w", err)
	}
	lines := make([]Line, 0, 372_504)
	for {
		rec, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read online retail: %w", err)
		}
		l, err := parseLine(rec)
		if err != nil {
			n, _ := r.FieldPos(0)
			return nil, fmt.Errorf("online retail line %d: %w", n, err)
		}
		lines = append(lines, l)
	}
	markMistakes(lines)
	return lines, nil
}

func parseLine(rec []string) (Line, error) {
	quantity, err := strconv.ParseInt(rec[3], 10, 64)
	if err != nil {
		return Line{}, fmt.Errorf("quantity: %w", err)
	}
	at, err := time.ParseInLocation("2006-01-02 15:04:05", rec[4], clock.Shanghai)
	if err != nil {
		return Line{}, fmt.Errorf("date: %w", err)
	}
	unit, err := parsePounds(rec[5])
	if err != nil {
		return Line{}, err
	}
	l := Line{
		Invoice: strings.Clone(rec[0]), SKU: strings.Clone(rec[1]), Name: strings.Join(strings.Fields(rec[2]), " "),
		Quantity: quantity, At: at, Unit: unit, Customer: strings.Clone(rec[6]), Country: strings.Clone(rec[7]),
	}
	l.Kind, l.Aside = classify(l)
	return l, nil
}

// parsePounds converts an amount with up to three decimals to fen without a float.
func parsePounds(s string) (money.Fen, error) {
	digits, neg := strings.CutPrefix(s, "-")
	whole, frac, _ := strings.Cut(digits, ".")
	if len(frac) > 3 {
		return 0, fmt.Errorf("price %q has more than three decimals", s)
	}
	n, err := strconv.ParseInt(whole+frac+"000"[len(frac):], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("price %q: %w", s, err)
	}
	if neg {
		n = -n
	}
	return money.Fen(n * FenPerPound / 1000), nil
}

var goodsCode = regexp.MustCompile(`^(\d{5}[A-Za-z]{0,2}|DCGS.*|PADS)$`)

func classify(l Line) (Kind, Reason) {
	switch l.SKU {
	case "B":
		return "", AsideBadDebt
	case "AMAZONFEE":
		return "", AsideCommission
	case "BANK CHARGES":
		return "", AsideBank
	case "CRUK":
		return "", AsideDonation
	case "S":
		return "", AsideSample
	case "M", "m":
		return "", AsideManual
	}
	switch {
	case l.Unit < 0:
		return "", AsideBadDebt
	case l.Quantity < 0 && !l.Return(), l.Unit == 0 && l.Customer == "":
		return "", AsideStock
	case l.SKU == "POST" || l.SKU == "DOT" || l.SKU == "C2":
		return KindFreight, ""
	case l.SKU == "D" || strings.HasPrefix(l.SKU, "gift_"):
		return KindFee, ""
	case l.Unit == 0:
		return KindGift, ""
	case goodsCode.MatchString(l.SKU):
		return KindSale, ""
	}
	return "", AsideManual
}

// mistakeFrom is the quantity from which a line that is cancelled in full by the same customer counts as a mistake: the
// file has two (80,995 and 74,215 pieces; the next largest is below 10,000).
const mistakeFrom = 50_000

func markMistakes(lines []Line) {
	for i := range lines {
		if q := lines[i].Quantity; q >= mistakeFrom || q <= -mistakeFrom {
			lines[i].Kind, lines[i].Aside = "", AsideMistake
		}
	}
}

// Invoice is one document of the source file with its lines that become an order.
type Invoice struct {
	No       string
	Customer string
	Country  string
	At       time.Time
	Return   bool
	Lines    []Line
}

// Net is the sum of the lines.
func (v *Invoice) Net() money.Fen {
	var sum money.Fen
	for _, l := range v.Lines {
		sum += l.Amount()
	}
	return sum
}

// invoices groups the lines that become orders, by number; an invoice's time is that of its first line.
func invoices(lines []Line) []*Invoice {
	byNo := map[string]*Invoice{}
	var all []*Invoice
	for _, l := range lines {
		if l.Aside != "" {
			continue
		}
		v := byNo[l.Invoice]
		if v == nil {
			v = &Invoice{No: l.Invoice, Customer: l.Customer, Country: l.Country, At: l.At, Return: l.Return()}
			byNo[l.Invoice] = v
			all = append(all, v)
		}
		v.Lines = append(v.Lines, l)
	}
	slices.SortStableFunc(all, func(a, b *Invoice) int { return a.At.Compare(b.At) })
	return all
}
