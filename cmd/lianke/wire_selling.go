package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/cart"
	"github.com/lianke/lianke/commerce/checkout"
	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/payment"
)

// selling are the modules that sell: carts, checkout, orders and payment.
type selling struct {
	carts    *cart.Service
	orders   *order.Service
	payments *payment.Service
	checkout *checkout.Service
}

// wireSelling constructs them after members, loyalty, stock and contracts.
func (a *app) wireSelling() error {
	a.carts = cart.New(a.db, a.clock, a.activity)
	a.orders = order.New(a.db, a.clock, a.activity, a.bus, a.secrets)
	pay, err := a.openWeChatPay()
	if err != nil {
		return err
	}
	var gateway payment.Gateway
	if pay != nil {
		gateway = pay
	}
	a.payments = payment.NewService(a.db, a.clock, a.log, gateway, a.ledger)
	if pay != nil {
		a.api.Door().Handle("POST /callbacks/wechatpay/{account}", a.payments.Callback(pay))
	}
	a.checkout = checkout.New(a.db, a.clock, checkout.Modules{
		Orders: a.orders, Carts: a.carts, Coupons: a.coupons, Points: a.points, Payments: a.payments, Ledger: a.ledger, Log: a.activity,
		Bus: a.bus, Graph: a.graph, Secrets: a.secrets, Ring: a.ring, Stock: a.stock, Freezer: contractsOf{a.contracts}, Promotions: promotionsOf{a.promotions},
		Touchpoints: a.matrix,
	})
	cart.Routes(a.api, a.carts)
	order.Routes(a.api, a.orders, a.auth)
	payment.Routes(a.api, a.payments, a.auth)
	checkout.Routes(a.api, a.checkout, a.auth)
	a.jobs.Every("abandoned carts", time.Minute, a.carts.Remind)
	a.jobs.Every("unpaid orders", 10*time.Second, func(ctx context.Context) error {
		_, err := a.checkout.CloseUnpaid(ctx)
		return err
	})
	a.jobs.Every("payment refunds", 10*time.Second, a.payments.RunRefunds)
	a.jobs.Every("payment reconciliation", time.Minute, a.payments.Reconcile)
	return nil
}

// openWeChatPay reads the merchant accounts that LIANKE_WECHATPAY_FILE names; nil without one.
func (a *app) openWeChatPay() (*payment.WeChatPay, error) {
	if a.cfg.WeChatPayFile == "" {
		return nil, nil //nolint:nilnil // documented
	}
	text, err := os.ReadFile(a.cfg.WeChatPayFile)
	if err != nil {
		return nil, fmt.Errorf("read LIANKE_WECHATPAY_FILE: %w", err)
	}
	var merchants []payment.Merchant
	if err := json.Unmarshal(text, &merchants); err != nil {
		return nil, fmt.Errorf("read LIANKE_WECHATPAY_FILE %s: %w", a.cfg.WeChatPayFile, err)
	}
	return payment.NewWeChatPay(a.client, a.clock, merchants)
}

// contractsOf freezes the contract that covers whoever sells: the store of the order, else who led it, else the seller.
type contractsOf struct{ contracts *org.Contracts }

func (c contractsOf) Freeze(ctx context.Context, tx pgx.Tx, o order.Order) (json.RawMessage, error) {
	frozen := struct {
		SellerUnit    string        `json:"seller_unit"`
		SellerEntity  string        `json:"seller_entity"`
		LeadUnit      string        `json:"lead_unit,omitempty"`
		LeadAssociate string        `json:"lead_associate,omitempty"`
		Contract      *org.Contract `json:"contract,omitempty"`
	}{o.SellerUnit, o.SellerEntity, o.LeadUnit, o.LeadAssociate, nil}
	for _, unit := range []string{o.Store, o.LeadUnit, o.SellerUnit} {
		if unit == "" {
			continue
		}
		contract, ok, err := c.contracts.For(ctx, tx, unit, o.PlacedAt)
		if err != nil {
			return nil, err
		}
		if ok {
			frozen.Contract = &contract
			break
		}
	}
	text, err := json.Marshal(frozen)
	if err != nil {
		return nil, fmt.Errorf("freeze terms of order %s: %w", o.OrderNo, err)
	}
	return text, nil
}
