package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

// A mini-program's server buys over HTTP: cart, quote, order, cancel, and sees only what its key may see.
func TestShopFrontBuys(t *testing.T) {
	t.Parallel()
	a := wired(t)
	h := a.api.Handler()
	ctx := t.Context()
	price := money.Fen(4_900)
	require.NoError(t, pg.InTx(ctx, a.db, func(tx pgx.Tx) error {
		if err := product.Put(ctx, tx, []product.SKU{{SKU: "bag", SPU: "bag", Name: "袋", RetailPrice: &price, Status: product.StatusActive}}, a.clock.Now()); err != nil {
			return err
		}
		_, err := a.stock.Receive(ctx, tx, inventory.Ref{Kind: "receipt", ID: "1"}, inventory.ReasonReceipt, "test", a.clock.Now(), []inventory.Arrival{{
			Line: 1, Quantity: 10, UnitCost: &price, Place: inventory.Place{SKU: "bag", Location: "W1", Owner: "hq", Status: inventory.StatusGood},
		}})
		return err
	}))
	ours, theirs := memberAt(t, a, "S1", "1001"), memberAt(t, a, "S2", "2001")
	call := func(secret, method, path, body string, want int, out any) {
		t.Helper()
		w := request(t, h, method, "/api/v1"+path, secret, body)
		require.Equal(t, want, w.Code, "%s %s: %s", method, path, w.Body)
		if out != nil {
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), out))
		}
	}
	finance := as(t, a, auth.RoleFinance, "")
	terms := `{"touchpoint":"miniprogram","store":"%s","seller_unit":"HQ","seller_entity":"hq","collector":"hq","location":"W1","programme":"","merchant":"main","freight_fen":0,"free_freight_fen":0,"pay_minutes":30,"version":0}`
	call(finance, "PUT", "/selling-terms", fmt.Sprintf(terms, ""), http.StatusOK, nil)
	call(finance, "PUT", "/selling-terms", `{"touchpoint":"miniprogram"}`, http.StatusUnprocessableEntity, nil)

	shop, local := as(t, a, auth.RoleShop, ""), as(t, a, auth.RoleShop, "S1")
	call(shop, "PUT", "/carts/"+ours+"/lines/bag", `{"quantity":2,"touchpoint":"miniprogram"}`, http.StatusOK, nil)
	call(local, "GET", "/carts/"+theirs, "", http.StatusNotFound, nil)
	basket := func(birth, store string) string {
		return `"birth":"` + birth + `","touchpoint":"miniprogram","store":"` + store + `","items":[{"sku":"bag","quantity":2}]`
	}
	var quote struct {
		Token  string `json:"token"`
		DueFen int64  `json:"due_fen"`
	}
	call(shop, "POST", "/quotes", "{"+basket(ours, "")+"}", http.StatusOK, &quote)
	require.EqualValues(t, 9_800, quote.DueFen)
	call(local, "POST", "/quotes", "{"+basket(theirs, "S1")+"}", http.StatusNotFound, nil)
	call(local, "POST", "/quotes", "{"+basket(ours, "S2")+"}", http.StatusForbidden, nil)

	place := "{" + basket(ours, "") + `,"address":{"name":"沈若溪","phone":"13800138000","city":"杭州市"},"request_id":"r1","quote":"` + quote.Token + `"}`
	var placed, again struct {
		OrderNo string `json:"order_no"`
		Status  string `json:"status"`
	}
	call(shop, "POST", "/orders", place, http.StatusCreated, &placed)
	call(shop, "POST", "/orders", place, http.StatusCreated, &again)
	require.Equal(t, placed, again)
	require.Equal(t, "placed", placed.Status)
	var cart struct {
		Lines []any `json:"lines"`
	}
	call(shop, "GET", "/carts/"+ours, "", http.StatusOK, &cart)
	require.Empty(t, cart.Lines, "what was ordered has left the cart")
	call(shop, "POST", "/orders", "{"+basket(ours, "")+`,"request_id":"r2","quote":""}`, http.StatusPreconditionFailed, nil)
	call(shop, "GET", "/orders/"+placed.OrderNo, "", http.StatusOK, nil)
	call(local, "GET", "/orders/"+placed.OrderNo, "", http.StatusNotFound, nil)
	call(local, "POST", "/orders/"+placed.OrderNo+"/cancel", `{}`, http.StatusNotFound, nil)
	call(shop, "POST", "/orders/"+placed.OrderNo+"/pay", `{"openid":"o1"}`, http.StatusServiceUnavailable, nil)
	var page struct {
		Items []struct {
			OrderNo string `json:"order_no"`
		} `json:"items"`
	}
	call(shop, "GET", "/orders?member="+ours, "", http.StatusOK, &page)
	require.Len(t, page.Items, 1)
	call(shop, "POST", "/orders/"+placed.OrderNo+"/reveal-receiver", `{"purpose":"x"}`, http.StatusForbidden, nil)
	call(shop, "POST", "/orders/"+placed.OrderNo+"/cancel", `{"reason":"no"}`, http.StatusOK, &again)
	require.Equal(t, "cancelled", again.Status)
	report, err := a.stock.Check(ctx, a.db)
	require.NoError(t, err)
	require.True(t, report.OK())
	require.Zero(t, report.Reserved)
}

// Who led a sale is somebody: a unit that there is, of the caller's own part; an associate leads in its own name, and an
// order led is seen and not changed. Contract and cost stay with those concerned.
func TestWhoLedTheSale(t *testing.T) {
	t.Parallel()
	a := wired(t)
	h := a.api.Handler()
	ctx := t.Context()
	price := money.Fen(4_900)
	require.NoError(t, pg.InTx(ctx, a.db, func(tx pgx.Tx) error {
		if err := product.Put(ctx, tx, []product.SKU{{SKU: "bag", SPU: "bag", Name: "袋", RetailPrice: &price, Status: product.StatusActive}}, a.clock.Now()); err != nil {
			return err
		}
		_, err := a.stock.Receive(ctx, tx, inventory.Ref{Kind: "receipt", ID: "1"}, inventory.ReasonReceipt, "test", a.clock.Now(), []inventory.Arrival{{
			Line: 1, Quantity: 10, UnitCost: &price, Place: inventory.Place{SKU: "bag", Location: "W1", Owner: "hq", Status: inventory.StatusGood},
		}})
		return err
	}))
	memberAt(t, a, "S1", "1001")
	memberAt(t, a, "S2", "2001")
	call := func(secret, method, path, body string, want int) (out struct {
		OrderNo       string          `json:"order_no"`
		LeadAssociate string          `json:"lead_associate"`
		Terms         json.RawMessage `json:"terms"`
		Token         string          `json:"token"`
	},
	) {
		t.Helper()
		w := request(t, h, method, "/api/v1"+path, secret, body)
		require.Equal(t, want, w.Code, "%s %s: %s", method, path, w.Body)
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &out))
		return out
	}
	finance := as(t, a, auth.RoleFinance, "")
	call(finance, "PUT", "/selling-terms", `{"touchpoint":"pos","store":"","seller_unit":"HQ","seller_entity":"hq","collector":"hq","location":"W1","programme":"","merchant":"main","freight_fen":0,"free_freight_fen":0,"pay_minutes":30,"version":0}`, http.StatusOK)
	associate, local, led, brand := as(t, a, auth.RoleAssociate, "S1"), as(t, a, auth.RoleShop, "S1"), as(t, a, auth.RoleShop, "S2"), as(t, a, auth.RoleShop, "")
	basket := `"touchpoint":"pos","store":"S1","items":[{"sku":"bag","quantity":1}]`
	quote := call(local, "POST", "/quotes", "{"+basket+"}", http.StatusOK).Token
	n := 0
	order := func(more string) string {
		n++
		return "{" + basket + `,"pay_with":"cash","address":{},"quote":"` + quote + `","request_id":"r` + fmt.Sprint(n) + `"` + more + "}"
	}
	call(local, "POST", "/orders", order(`,"lead_unit":"S2"`), http.StatusUnprocessableEntity)
	call(brand, "POST", "/orders", order(`,"lead_unit":"S9"`), http.StatusUnprocessableEntity)
	call(brand, "POST", "/orders", order(`,"lead_associate":"zhou"`), http.StatusUnprocessableEntity)
	call(local, "POST", "/orders", order(`,"lead_associate":"0192f0c1-0000-7000-8000-000000000000"`), http.StatusUnprocessableEntity)
	call(associate, "POST", "/orders", order(`,"lead_associate":"0192f0c1-0000-7000-8000-000000000000"`), http.StatusUnprocessableEntity)
	call(local, "POST", "/orders", order(`,"pay_with":"platform"`), http.StatusPreconditionFailed)

	mine := call(associate, "POST", "/orders", order(`,"lead_unit":"S1"`), http.StatusCreated)
	require.NotEmpty(t, mine.LeadAssociate, "an associate leads what it sells")
	call(associate, "GET", "/orders/"+mine.OrderNo, "", http.StatusOK)
	require.Empty(t, mine.Terms)
	require.Empty(t, call(local, "GET", "/orders/"+mine.OrderNo, "", http.StatusOK).Terms)
	require.NotEmpty(t, call(finance, "GET", "/orders/"+mine.OrderNo, "", http.StatusOK).Terms)
	w := request(t, h, "GET", "/api/v1/orders", local, "")
	require.Equal(t, http.StatusOK, w.Code)
	require.NotContains(t, w.Body.String(), `"terms"`)

	shared := call(brand, "POST", "/orders", order(`,"lead_unit":"S2"`), http.StatusCreated)
	call(led, "GET", "/orders/"+shared.OrderNo, "", http.StatusOK)
	call(led, "POST", "/orders/"+shared.OrderNo+"/cancel", `{}`, http.StatusForbidden)
	call(led, "POST", "/orders/"+shared.OrderNo+"/pay", `{"openid":"o1"}`, http.StatusForbidden)
	require.Empty(t, call(local, "POST", "/orders/"+shared.OrderNo+"/cancel", `{}`, http.StatusOK).Terms)
}
