package order

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Filter chooses orders. Empty fields do not restrict.
type Filter struct {
	Births     []member.Birth
	Status     Status
	Touchpoint member.Touchpoint
	Store      string
	SKU        string
	Number     string // beginning of the order number
	From, To   time.Time
	Cursor     string
	Limit      int
}

// inScopeSQL is true for the orders that a scope sees: those of its stores, whoever of selling and leading they are. An
// associate sees those they led.
const inScopeSQL = `(@all OR store = ANY(@stores) OR lead_unit = ANY(@stores) OR seller_unit = ANY(@stores))
  AND (@associate = '' OR lead_associate = @associate)`

const findSQL = `
SELECT ` + orderColumns + `
FROM commerce.orders
WHERE ` + inScopeSQL + `
  AND (@births::bigint[] IS NULL OR birth = ANY(@births))
  AND (@status = '' OR status = @status)
  AND (@touchpoint = '' OR touchpoint = @touchpoint)
  AND (@store = '' OR store = @store)
  AND (@number = '' OR starts_with(order_no, @number))
  AND (@sku = '' OR order_no IN (SELECT order_no FROM commerce.order_lines WHERE sku = @sku))
  AND (@from::timestamptz IS NULL OR placed_at >= @from)
  AND (@to::timestamptz IS NULL OR placed_at < @to)
  AND (@after_at::timestamptz IS NULL OR (placed_at, order_no) < (@after_at, @after_no))
ORDER BY placed_at DESC, order_no DESC
LIMIT @limit`

const visibleSQL = `
SELECT EXISTS (
    SELECT 1
    FROM commerce.orders
    WHERE order_no = @order_no AND ` + inScopeSQL + `)`

func scopeArgs(scope auth.Scope) pg.Args {
	associate := ""
	if scope.Associate != nil {
		associate = scope.Associate.String()
	}
	stores := scope.Stores
	if stores == nil {
		stores = []string{}
	}
	return pg.Args{"all": scope.All, "stores": stores, "associate": associate}
}

// Find returns orders in the scope, newest first, without lines; ask for one more than a page holds.
func (s *Service) Find(ctx context.Context, db pg.DB, scope auth.Scope, f Filter) ([]Order, error) {
	args := scopeArgs(scope)
	for name, v := range map[string]any{
		"births": f.Births, "status": string(f.Status), "touchpoint": string(f.Touchpoint), "store": f.Store, "sku": f.SKU, "number": f.Number,
		"limit": f.Limit, "from": optional(f.From), "to": optional(f.To), "after_at": (*time.Time)(nil), "after_no": "",
	} {
		args[name] = v
	}
	if f.Cursor != "" {
		micros, no, ok := strings.Cut(f.Cursor, ".")
		n, err := strconv.ParseInt(micros, 10, 64)
		if !ok || err != nil {
			return nil, invalid("cursor", "游标无效", "the cursor is not one of ours")
		}
		at := time.UnixMicro(n).UTC()
		args["after_at"], args["after_no"] = &at, no
	}
	rows, err := db.Query(ctx, findSQL, args)
	if err != nil {
		return nil, fmt.Errorf("find orders: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Order])
	if err != nil {
		return nil, fmt.Errorf("find orders: %w", err)
	}
	return all, nil
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// cursor is the position after an order in Find.
func cursor(o Order) string {
	return strconv.FormatInt(o.PlacedAt.UnixMicro(), 10) + "." + o.OrderNo
}

// Within is Get for what the scope sees; anything else is ErrNotFound.
func (s *Service) Within(ctx context.Context, db pg.DB, scope auth.Scope, orderNo string) (Order, error) {
	args := scopeArgs(scope)
	args["order_no"] = orderNo
	var visible bool
	if err := db.QueryRow(ctx, visibleSQL, args).Scan(&visible); err != nil {
		return Order{}, fmt.Errorf("find order %s: %w", orderNo, err)
	}
	if !visible {
		return Order{}, ErrNotFound.With("order", orderNo)
	}
	return load(ctx, db, orderNo, false)
}

// Managed is Within for what the scope may change: orders of its own stores and those it sells. Having led the sale gives a
// sight of the order and no more; then it fails with auth.ErrForbidden.
func (s *Service) Managed(ctx context.Context, db pg.DB, scope auth.Scope, orderNo string) (Order, error) {
	o, err := s.Within(ctx, db, scope, orderNo)
	if err != nil {
		return Order{}, err
	}
	if !scope.All && !slices.Contains(scope.Stores, o.Store) && !slices.Contains(scope.Stores, o.SellerUnit) {
		return Order{}, auth.ErrForbidden
	}
	return o, nil
}

// For returns the order as the actor may see it: contract terms and cost prices are for finance and administrators of the
// whole brand, and for the partner who sells.
func (o Order) For(by auth.Actor) Order {
	if by.Scope.All && by.Has(auth.RoleFinance, auth.RoleAdmin) || by.Has(auth.RolePartner) && slices.Contains(by.Scope.Stores, o.SellerUnit) {
		return o
	}
	o.Terms = nil
	o.Lines = slices.Clone(o.Lines)
	for i := range o.Lines {
		o.Lines[i].CostPriceFen = nil
	}
	return o
}

// KindReceiver is the kind under which receivers are sealed.
const KindReceiver = "receiver"

// Address is a receiver in clear. It is only ever stored sealed.
type Address struct {
	Name     string `json:"name" validate:"max=64"`
	Phone    string `json:"phone" validate:"max=32"`
	Province string `json:"province" validate:"max=32"`
	City     string `json:"city" validate:"max=32"`
	District string `json:"district" validate:"max=32"`
	Street   string `json:"street" validate:"max=200"`
}

// OpenReceiver returns where an order goes in clear, for whoever prints the label. Receivers that are a platform's token
// stay closed: the zero Address. It fails with member.ErrNoSecret if the person was erased.
func (s *Service) OpenReceiver(ctx context.Context, db pg.DB, o Order) (Address, error) {
	var a Address
	if o.ReceiverSealed == nil {
		return a, nil
	}
	text, err := s.secrets.OpenSealed(ctx, db, o.Birth, KindReceiver, o.ReceiverSealed)
	if err != nil {
		return a, fmt.Errorf("open receiver of order %s: %w", o.OrderNo, err)
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return a, fmt.Errorf("open receiver of order %s: %w", o.OrderNo, err)
	}
	return a, nil
}

// Masked is the receiver as everybody may see it.
func (a Address) Masked() Receiver {
	return Receiver{
		Name: crypt.Mask(crypt.KindName, a.Name), Phone: crypt.Mask(crypt.KindPhone, a.Phone),
		Province: a.Province, City: a.City, District: a.District, Street: crypt.Mask(crypt.KindValue, a.Street),
	}
}

// Seal returns the text that is sealed under KindReceiver.
func (a Address) Seal() (string, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return "", fmt.Errorf("encode receiver: %w", err)
	}
	return string(text), nil
}
