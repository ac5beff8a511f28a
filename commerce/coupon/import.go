package coupon

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
)

// Import is a coupon that another system issued. Birth 0 makes a bearer coupon.
type Import struct {
	Code        string
	Template    string
	Birth       member.Birth
	Source      string
	IssuedAt    time.Time
	ExpiresAt   time.Time
	UsedOrderNo string
	UsedAt      *time.Time
}

// ImportOutcome says what became of an imported coupon.
type ImportOutcome string

// The outcomes of ImportCodes.
const (
	ImportInserted  ImportOutcome = "inserted"
	ImportUpdated   ImportOutcome = "updated"
	ImportDuplicate ImportOutcome = "duplicate"
	ImportRejected  ImportOutcome = "rejected"
)

// ImportResult is the answer to one Import. Reject says why a rejected one was; NewTemplate that its template was unknown
// and a stub stands in for it.
type ImportResult struct {
	Outcome     ImportOutcome
	Reject      *fault.Field
	NewTemplate bool
}

// ImportCodes stores coupons of other systems with their past: issued, used and expired ones (as of the clock), with the
// activities at their own time. The same code with the same content is a duplicate, with other content an update; codes
// in input differ. Imports do not count against the template's limits. An unknown template becomes an archived stub
// without value, borne by "HQ".
func (s *Service) ImportCodes(ctx context.Context, tx pgx.Tx, in []Import, mode member.Mode) ([]ImportResult, error) {
	results, err := s.importCodes(ctx, tx, in, mode)
	if err != nil {
		return nil, fmt.Errorf("import coupons: %w", err)
	}
	return results, nil
}

func (s *Service) importCodes(ctx context.Context, tx pgx.Tx, in []Import, mode member.Mode) ([]ImportResult, error) {
	results := make([]ImportResult, len(in))
	codes := make([]string, len(in))
	for i, c := range in {
		codes[i] = c.Code
		results[i].Reject = c.validate()
	}
	stored, err := lockCoupons(ctx, tx, codes)
	if err != nil {
		return nil, err
	}
	templates, err := s.templatesFor(ctx, tx, in, results)
	if err != nil {
		return nil, err
	}

	now := s.clock.Now()
	w := newWrites()
	w.at = now
	var changed []Coupon
	var moved []Coupon // stored under another birth so far
	for i, c := range in {
		old, known := stored[c.Code]
		if _, ours, _ := parseCode(c.Code); ours && !known && results[i].Reject == nil {
			results[i].Reject = &fault.Field{Path: "code", Code: "coupon.reserved",
				Text: fault.Text{ZH: "LK 开头的券码由本系统生成", EN: "codes of this form are made by this system"},
				Hint: fault.Text{ZH: "请为外部券使用其他编码", EN: "give foreign coupons another form of code"}}
		}
		if results[i].Reject != nil {
			results[i].Outcome, results[i].NewTemplate = ImportRejected, false
			continue
		}
		next := c.coupon(templates[c.Template], now)
		switch {
		case known && old.equals(next):
			results[i].Outcome = ImportDuplicate
			continue
		case known:
			results[i].Outcome = ImportUpdated
			if old.Birth != next.Birth {
				moved = append(moved, old)
			}
			changed = append(changed, next)
			if old.State.open() {
				w.open[old.Template]--
			}
		default:
			results[i].Outcome = ImportInserted
			w.coupons = append(w.coupons, next)
		}
		if next.State.open() {
			w.open[next.Template]++
		}
		w.names = append(w.names, fmt.Sprint("import:", next))
		w.history(next, mode)
	}
	if err := moveCoupons(ctx, tx, moved, changed); err != nil {
		return nil, err
	}
	if err := updateCoupons(ctx, tx, changed); err != nil {
		return nil, err
	}
	return results, s.write(ctx, tx, w, templates)
}

// foreignTemplate is wider than codePattern: other systems name their templates as they like.
var foreignTemplate = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{N} _.-]{0,62}$`)

func (c Import) validate() *fault.Field {
	reject := func(path, zh, en string) *fault.Field {
		return &fault.Field{Path: path, Code: "coupon." + path, Text: fault.Text{ZH: zh, EN: en}}
	}
	switch {
	case c.Code == "" || len(c.Code) > 100:
		return reject("code", "券码须为 1 到 100 字节", "a code has 1 to 100 bytes")
	case !foreignTemplate.MatchString(c.Template):
		return reject("template", "模板代码须为 1 到 63 个字母、数字、空格、.、- 或 _", "a template's code has 1 to 63 letters, digits, spaces, dots, - or _")
	case c.IssuedAt.IsZero():
		return reject("issued_at", "缺少发放时间", "is missing")
	case !c.ExpiresAt.After(c.IssuedAt):
		return reject("expires_at", "过期时间须晚于发放时间", "is not after issued_at")
	case c.UsedAt != nil && c.UsedAt.Before(c.IssuedAt):
		return reject("used_at", "使用时间早于发放时间", "is before issued_at")
	case c.UsedAt == nil && c.UsedOrderNo != "":
		return reject("used_at", "有使用订单但缺少使用时间", "used_order_no is given without used_at")
	}
	return nil
}

func (c Import) coupon(t Template, now time.Time) Coupon {
	out := Coupon{
		Birth: c.Birth, Code: c.Code, Template: c.Template, State: StateIssued, FaceFen: t.Face(), IssuedAt: c.IssuedAt.UTC(),
		StartsAt: c.IssuedAt.UTC(), ExpiresAt: c.ExpiresAt.UTC(), OrderNo: c.UsedOrderNo, Source: c.Source,
	}
	switch {
	case c.UsedAt != nil:
		at := c.UsedAt.UTC()
		out.State, out.UsedAt = StateUsed, &at
	case !now.Before(c.ExpiresAt):
		out.State = StateExpired
	}
	return out
}

func (c Coupon) equals(o Coupon) bool {
	sameUse := (c.UsedAt == nil) == (o.UsedAt == nil) && (c.UsedAt == nil || c.UsedAt.Equal(*o.UsedAt))
	// What happened here since the import is no other content: an imported unused coupon may be locked, expired or used.
	sameState := c.State == o.State || o.State == StateIssued || (o.State == StateExpired && c.State == StateIssued)
	if o.State == StateIssued && c.State == StateUsed {
		sameUse = true
	}
	return c.Birth == o.Birth && c.Template == o.Template && c.IssuedAt.Equal(o.IssuedAt) && c.ExpiresAt.Equal(o.ExpiresAt) &&
		sameState && sameUse && (o.OrderNo == "" || c.OrderNo == o.OrderNo)
}

// history logs what an imported coupon has been through.
func (w *writes) history(c Coupon, mode member.Mode) {
	w.tell(c.Birth, activity.KeyCouponIssued, c.Template, c.Code, "", c.Code, c.IssuedAt, mode)
	switch c.State {
	case StateUsed:
		w.tell(c.Birth, activity.KeyCouponUsed, c.Template, c.Code, c.OrderNo, useName(c), *c.UsedAt, mode)
	case StateExpired:
		w.tell(c.Birth, activity.KeyCouponExpired, c.Template, c.Code, "", useName(c), c.ExpiresAt, mode)
	}
}

// templatesFor reads the templates of the imports and makes stubs of those that do not exist.
func (s *Service) templatesFor(ctx context.Context, tx pgx.Tx, in []Import, results []ImportResult) (map[string]Template, error) {
	var codes []string
	seen := map[string]bool{}
	for i, c := range in {
		if results[i].Reject == nil && !seen[c.Template] {
			seen[c.Template] = true
			codes = append(codes, c.Template)
		}
	}
	found, err := findTemplates(ctx, tx, codes, "", 0)
	if err != nil {
		return nil, err
	}
	out := make(map[string]Template, len(codes))
	for _, t := range found {
		out[t.Code] = t
	}
	for _, code := range codes {
		if _, ok := out[code]; ok {
			continue
		}
		stub := Template{Code: code, Name: code, Kind: KindAmountOff, ValidDays: 1, Bearers: []Bearer{{"HQ", 10000}}, Status: StatusArchived, Version: 1}
		if err := s.create(ctx, tx, stub); err != nil {
			return nil, err
		}
		out[code] = stub
		for i, c := range in {
			results[i].NewTemplate = results[i].NewTemplate || c.Template == code
		}
	}
	return out, nil
}

const moveCodesSQL = `
UPDATE commerce.coupon_codes k
SET birth = w.birth
FROM unnest(@codes::text[], @births::bigint[]) AS w (code, birth)
WHERE k.code = w.code`

const moveCouponsSQL = `
UPDATE commerce.coupons c
SET birth = w.new
FROM unnest(@codes::text[], @olds::bigint[], @births::bigint[]) AS w (code, old, new)
WHERE c.birth = w.old AND c.code = w.code`

// moveCoupons gives coupons to other births, because their source says so now.
func moveCoupons(ctx context.Context, tx pgx.Tx, from, to []Coupon) error {
	if len(from) == 0 {
		return nil
	}
	next := map[string]member.Birth{}
	for _, c := range to {
		next[c.Code] = c.Birth
	}
	var codes []string
	var olds, births []member.Birth
	for _, c := range from {
		codes, olds, births = append(codes, c.Code), append(olds, c.Birth), append(births, next[c.Code])
	}
	if _, err := tx.Exec(ctx, moveCodesSQL, pg.Args{"codes": codes, "births": births}); err != nil {
		return fmt.Errorf("move coupon codes: %w", err)
	}
	if _, err := tx.Exec(ctx, moveCouponsSQL, pg.Args{"codes": codes, "olds": olds, "births": births}); err != nil {
		return fmt.Errorf("move coupons: %w", err)
	}
	return nil
}
