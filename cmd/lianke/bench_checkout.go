package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/lianke/lianke/commerce/checkout"
	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/embedded"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/identity"
	"github.com/lianke/lianke/member/points"
)

const (
	checkoutRounds  = 3
	checkoutOrders  = 800 // per round and side
	checkoutClients = 16
	checkoutSKUs    = 500
	checkoutKey     = "lk_api_bench"
)

func checkoutBench() benchmark {
	return benchmark{
		name:  "checkout",
		about: "whole checkouts over HTTP, beside one hand-written SQL function that does the same on plain tables",
		run:   benchCheckout,
	}
}

// benchCheckout places orders of two lines and three units, with coupon, points, freight, receiver and a payment to come,
// through POST /api/v1/orders of the whole program, and in turn calls the floor: one function in the database, without HTTP,
// keys, history or invariants. The clients run in this process: their processor time is in the figures.
func benchCheckout(ctx context.Context, b *benchRun) error {
	db, drop, err := b.scratch(ctx, 4)
	if err != nil {
		return err
	}
	defer drop()
	cfg := b.app.cfg
	cfg.DatabaseURL, cfg.RedisURL, cfg.DatabaseConns = db.Config().ConnString(), "off", checkoutClients
	a := newApp(b.c, cfg)
	a.log = b.app.log
	defer func() { _ = a.Close() }()
	if err := a.openStores(ctx, embedded.Options{}); err != nil {
		return err
	}
	if err := a.wire(ctx); err != nil {
		return err
	}
	const total = checkoutRounds*checkoutOrders + 2*checkoutClients
	b.progress("preparing %d members with a coupon and points each", total)
	bodies, err := prepareCheckouts(ctx, a, total)
	if err != nil {
		return err
	}
	if err := makePlainCheckout(ctx, db, total); err != nil {
		return err
	}
	trips, err := countTrips(ctx, a, bodies[0])
	if err != nil {
		return err
	}
	address, stop, err := serveAPI(a)
	if err != nil {
		return err
	}
	defer stop()

	next, floor := 1, 0
	ours := func(n int) (time.Duration, []time.Duration, error) {
		part := bodies[next : next+n]
		next += n
		return driveOrders(ctx, n, func(ctx context.Context, i int) error { return post(ctx, address, part[i]) })
	}
	theirs := func(n int) (time.Duration, []time.Duration, error) {
		from := floor
		floor += n
		return driveOrders(ctx, n, func(ctx context.Context, i int) error { return plainPlace(ctx, a.db, from+i) })
	}
	// Connections, statement caches and partitions are there before anything is measured.
	if _, _, err := ours(checkoutClients); err != nil {
		return err
	}
	if _, _, err := theirs(checkoutClients); err != nil {
		return err
	}
	var tookOurs, tookTheirs time.Duration
	var lags, plainLags []time.Duration
	f := figures{"orders": checkoutRounds * checkoutOrders, "clients": checkoutClients, "round_trips": trips}
	var cpuOurs, cpuTheirs time.Duration
	for round := range checkoutRounds {
		b.progress("round %d of %d", round+1, checkoutRounds)
		cpu := startCPU(ctx, db)
		took, each, err := ours(checkoutOrders)
		if err != nil {
			return err
		}
		used, ok := cpu.since()
		cpuOurs, f["cpu_ms_per_unit_includes_postgres"] = cpuOurs+used, ok
		tookOurs, lags = tookOurs+took, append(lags, each...)

		cpu = startCPU(ctx, db)
		if took, each, err = theirs(checkoutOrders); err != nil {
			return err
		}
		used, _ = cpu.since()
		cpuTheirs += used
		tookTheirs, plainLags = tookTheirs+took, append(plainLags, each...)
	}
	n := float64(checkoutRounds * checkoutOrders)
	f["per_second"], f["floor_per_second"] = round(n/tookOurs.Seconds(), 0), round(n/tookTheirs.Seconds(), 0)
	f["ratio"] = round(tookTheirs.Seconds()/tookOurs.Seconds(), 3)
	f["p99_ms"], f["floor_p99_ms"] = percentile(lags, 99), percentile(plainLags, 99)
	f["cpu_ms_per_unit"], f["floor_cpu_ms_per_unit"] = round(cpuOurs.Seconds()*1000/n, 3), round(cpuTheirs.Seconds()*1000/n, 3)
	report, err := a.stock.Check(ctx, a.db)
	if err != nil {
		return err
	}
	if !report.OK() {
		return fmt.Errorf("stock does not add up: %+v", report)
	}
	return b.report("orders with coupon, points and freight", f)
}

func percentile(d []time.Duration, p int) float64 {
	slices.Sort(d)
	return round(float64(d[(len(d)*p+99)/100-1].Microseconds())/1000, 2)
}

// driveOrders lets the clients do n things between them, and returns how long each took.
func driveOrders(ctx context.Context, n int, do func(ctx context.Context, i int) error) (time.Duration, []time.Duration, error) {
	each := make([]time.Duration, n)
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for range checkoutClients {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				start := time.Now()
				if err := do(ctx, i); err != nil {
					return err
				}
				each[i] = time.Since(start)
			}
		})
	}
	err := g.Wait()
	return time.Since(began), each, err
}

func checkoutSKU(i int) string { return fmt.Sprintf("SKU-%03d", i%checkoutSKUs) }

// prepareCheckouts fills the database and returns the bodies of n requests, quotes included.
func prepareCheckouts(ctx context.Context, a *app, n int) ([][]byte, error) {
	now := a.clock.Now()
	retail, cost := money.Fen(19_900), money.Fen(8_000)
	births := make([]member.Birth, 0, n)
	codes := make([]string, 0, n)
	err := pg.InTx(ctx, a.db, func(tx pgx.Tx) error {
		var skus []product.SKU
		var goods []inventory.Arrival
		for i := range checkoutSKUs {
			skus = append(skus, product.SKU{SKU: checkoutSKU(i), SPU: checkoutSKU(i), Name: "商品", Category: "餐具", RetailPrice: &retail, Status: product.StatusActive})
			goods = append(goods, inventory.Arrival{
				Line: i + 1, Quantity: 100_000, UnitCost: &cost,
				Place: inventory.Place{SKU: checkoutSKU(i), Location: "W1", Owner: "hq", Status: inventory.StatusGood},
			})
		}
		if err := product.Put(ctx, tx, skus, now); err != nil {
			return err
		}
		if _, err := a.stock.Receive(ctx, tx, inventory.Ref{Kind: "receipt", ID: "bench"}, inventory.ReasonReceipt, "bench", now, goods); err != nil {
			return err
		}
		if _, err := org.Ensure(ctx, tx, []string{"S1"}, org.KindStore, now); err != nil {
			return err
		}
		if _, err := a.points.CreateProgramme(ctx, tx, points.Programme{Code: "points", Name: "积分", ValuePoints: 1, ValueFen: 1, EarnFen: 100}); err != nil {
			return err
		}
		until := now.Add(365 * 24 * time.Hour)
		_, err := a.coupons.CreateTemplate(ctx, tx, coupon.Template{
			Code: "less-40", Name: "满300减40", Kind: coupon.KindAmountOff, AmountFen: 4_000, ThresholdFen: 30_000, ValidTo: &until,
			Bearers: []coupon.Bearer{{Bearer: "hq", Bp: 6_000}, {Bearer: "store", Bp: 4_000}}, Status: coupon.StatusActive,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, err := a.checkout.PutTerms(ctx, a.db, checkout.SellingTerms{
		Touchpoint: member.TouchpointMiniProgram, SellerUnit: "HQ", SellerEntity: "hq", Collector: "hq", Location: "W1", Programme: "points",
		Merchant: "main", FreightFen: 1_000, PayMinutes: 30,
	}); err != nil {
		return nil, err
	}
	for from := 0; from < n; from += 500 {
		err := pg.InTx(ctx, a.db, func(tx pgx.Tx) error {
			var obs []identity.Observation
			for i := from; i < min(from+500, n); i++ {
				obs = append(obs, identity.Observation{
					Keys: []identity.Key{{NS: identity.NSSource, Scope: "bench", Value: fmt.Sprint(i)}}, Kind: identity.KindOrder, Source: "bench", At: now,
					EventKey: fmt.Sprint(i), Mode: member.ModeLive,
				})
			}
			got, err := a.graph.Observe(ctx, tx, obs)
			if err != nil {
				return err
			}
			var grants []points.Grant
			var issues []coupon.Issue
			for _, r := range got {
				births = append(births, r.Birth)
				for range 3 {
					grants = append(grants, points.Grant{Key: id.New(), Birth: r.Birth, Programme: "points", Points: 1_000, At: now})
				}
				issues = append(issues, coupon.Issue{Key: id.New(), Birth: r.Birth, Template: "less-40", At: now, Source: "bench"})
			}
			if _, err := a.points.Grant(ctx, tx, grants); err != nil {
				return err
			}
			issued, err := a.coupons.Issue(ctx, tx, issues)
			for _, r := range issued {
				codes = append(codes, r.Code)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if _, _, err := a.auth.CreateKey(ctx, auth.System, auth.CreateKeyInput{
		Kind: auth.KeyAPI, Name: "bench", Source: "bench", Roles: []auth.Role{auth.RoleShop}, PerSecond: 1_000_000, Secret: checkoutKey,
	}); err != nil {
		return nil, err
	}
	if _, err := a.db.Exec(ctx, `ANALYZE`); err != nil {
		return nil, fmt.Errorf("analyze: %w", err)
	}
	bodies := make([][]byte, n)
	for i := range bodies {
		basket := checkout.Basket{
			Birth: births[i], Touchpoint: member.TouchpointMiniProgram, Coupons: []string{codes[i]}, Points: 1_000,
			Items: []checkout.Item{{SKU: checkoutSKU(i), Quantity: 1}, {SKU: checkoutSKU(i*7 + 1), Quantity: 2}},
		}
		q, err := a.checkout.Quote(ctx, basket)
		if err != nil {
			return nil, err
		}
		body := checkout.PlaceBody{Place: checkout.Place{Basket: basket, LeadUnit: "S1"}, RequestID: fmt.Sprint("r", i), Token: q.Token}
		body.Address.Name, body.Address.Phone, body.Address.City, body.Address.Street = "沈若溪", "13800138000", "杭州市", "湖滨路 1 号"
		if bodies[i], err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
	}
	return bodies, nil
}

// serveAPI serves the whole API on a local port.
func serveAPI(a *app) (address string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: a.api.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("bench server ended", "error", err)
		}
	}()
	return "http://" + listener.Addr().String() + "/api/v1/orders", func() { _ = server.Close() }, nil
}

var checkoutClient = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: checkoutClients}}

func post(ctx context.Context, address string, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("place order: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+checkoutKey)
	r.Header.Set("Content-Type", "application/json")
	res, err := checkoutClient.Do(r)
	if err != nil {
		return fmt.Errorf("place order: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("place order: %w", err)
	}
	if res.StatusCode != http.StatusCreated {
		return fmt.Errorf("place order: %d %s", res.StatusCode, text)
	}
	return nil
}
