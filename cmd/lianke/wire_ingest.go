package main

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/price"
	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/importer"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/journeys/campaign"
	"github.com/lianke/lianke/member/tracking"
)

// wireIngest constructs the doors for other systems: files and the tracking API.
func (a *app) wireIngest() {
	stores := func(ctx context.Context, tx pgx.Tx, codes []string, now time.Time) ([]string, error) {
		return org.Ensure(ctx, tx, codes, org.KindStore, now)
	}
	a.importer = importer.New(a.db, a.clock,
		product.Import{}, price.Import{}, org.ImportUnits{}, org.ImportEntities{},
		tracking.NewImportMembers(a.door, stores), tracking.NewImportEvents(a.graph, a.activity),
		order.NewImport(a.graph, a.activity), campaign.NewImport(a.graph, a.activity),
		inventory.NewImportKind(a.stock),
		coupon.NewImportKind(coupon.New(a.db, a.clock, ledger.New(), a.activity, rand.Reader), a.graph),
	)
	writer := tracking.NewWriter(a.db, a.clock, a.door, a.activity)
	a.api.Door().Handle("/v1/", tracking.NewHandler(a.auth, writer))
	a.jobs.Every("tracking.forget", 24*time.Hour, writer.Forget)
}
