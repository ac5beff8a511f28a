package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
)

const (
	hotBuyers  = 64
	hotRounds  = 3
	hotSeconds = 4 // of each side in each round
	hotSKUs    = 10_000
	hotStock   = 1_000 // of the sale that sells out
)

func hotSKUBench() benchmark {
	return benchmark{
		name: "hot-sku",
		about: "64 buyers of one SKU, each waiting for its own reservation to be durable, beside begin, update, insert, insert, commit; " +
			"the same over 10,000 SKUs, from two processes, and until it is sold out",
		run: benchHotSKU,
	}
}

// benchHotSKU lets both sides take turns, several rounds of a few seconds, so that a noisy machine is noisy for both. Ours
// writes a reservation and a move per buyer with all their indexes; the baseline writes a reservation and an outbox row.
func benchHotSKU(ctx context.Context, b *benchRun) error {
	db, drop, err := b.scratch(ctx, hotBuyers+8)
	if err != nil {
		return err
	}
	defer drop()
	if _, err := db.Exec(ctx, plainStockSQL); err != nil {
		return fmt.Errorf("make plain tables: %w", err)
	}
	sale := &hotSale{db: db, log: b}
	sale.stock = sale.service(db)
	if err := sale.fill(ctx); err != nil {
		return err
	}
	f := figures{"buyers": hotBuyers}
	if err := sale.compare(ctx, f, "", func(*rand.Rand) string { return "hot" }); err != nil {
		return err
	}
	if err := sale.compare(ctx, f, "_spread", func(r *rand.Rand) string { return spreadSKU(r.IntN(hotSKUs)) }); err != nil {
		return err
	}
	if err := sale.twoProcesses(ctx, f); err != nil {
		return err
	}
	if err := sale.sellOut(ctx, f); err != nil {
		return err
	}
	b.progress("proving the books")
	report, err := sale.stock.Check(ctx, db)
	if err != nil {
		return err
	}
	f["balanced"] = report.OK() && report.Reserved == sale.acked.Load()
	for k, v := range machine() {
		f[k] = v
	}
	return b.report("reservations", f)
}

type hotSale struct {
	db    *pg.Pool
	log   *benchRun
	stock *inventory.Service
	acked atomic.Int64 // reservations of ours that were answered yes
}

func (h *hotSale) service(db *pg.Pool) *inventory.Service {
	clk := clock.System{}
	return inventory.New(db, clk, events.New(db, clk, jobs.New(nil, h.log.app.log)), nil)
}

func spreadSKU(n int) string { return fmt.Sprintf("sku-%05d", n) }

const plainStockSQL = `
CREATE SCHEMA plain;
CREATE TABLE plain.stock (sku text PRIMARY KEY, on_hand bigint NOT NULL, reserved bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50);
CREATE TABLE plain.reservations (id uuid PRIMARY KEY, sku text NOT NULL, quantity bigint NOT NULL, expires_at timestamptz NOT NULL);
CREATE TABLE plain.outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload text NOT NULL);
INSERT INTO plain.stock (sku, on_hand) SELECT 'sku-' || lpad(i::text, 5, '0'), 1000000 FROM generate_series(0, 9999) i;
INSERT INTO plain.stock (sku, on_hand) VALUES ('hot', 1000000);
ANALYZE`

// fill puts a million of each SKU on the shelf.
func (h *hotSale) fill(ctx context.Context) error {
	unit := money.Fen(100)
	var goods []inventory.Arrival
	for n := range hotSKUs {
		goods = append(goods, inventory.Arrival{Place: hotPlace(spreadSKU(n)), Quantity: 1_000_000, UnitCost: &unit})
	}
	goods = append(goods, inventory.Arrival{Place: hotPlace("hot"), Quantity: 1_000_000, UnitCost: &unit},
		inventory.Arrival{Place: hotPlace("sale"), Quantity: hotStock, UnitCost: &unit})
	for part := range slices.Chunk(goods, 2_000) {
		if err := pg.InTx(ctx, h.db, func(tx pgx.Tx) error {
			_, err := h.stock.Receive(ctx, tx, inventory.Ref{Kind: "receipt", ID: "bench"}, inventory.ReasonReceipt, "bench", time.Now(), part)
			return err
		}); err != nil {
			return err
		}
	}
	_, err := h.db.Exec(ctx, `ANALYZE`)
	return err
}

func hotPlace(sku string) inventory.Place {
	return inventory.Place{SKU: sku, Location: "W1", Owner: "hq", Status: inventory.StatusGood}
}

func (h *hotSale) reserve(ctx context.Context, s *inventory.Service, sku string) error {
	_, err := s.ReserveNow(ctx, inventory.Basket{
		Ref: inventory.Ref{Kind: "bench", ID: id.New().String()}, Touchpoint: "web", ExpiresAt: time.Now().Add(15 * time.Minute),
		Lines: []inventory.Want{{Line: 1, SKU: sku, Location: "W1", Quantity: 1}},
	})
	if err == nil {
		h.acked.Add(1)
	}
	return err
}

// The baseline, on the tables of plainStockSQL: not named …SQL, which internal/archtest prepares.
const (
	plainTake    = `UPDATE plain.stock SET reserved = reserved + 1 WHERE sku = $1 AND on_hand - reserved >= 1`
	plainReserve = `INSERT INTO plain.reservations (id, sku, quantity, expires_at) VALUES ($1, $2, 1, $3)`
	plainOutbox  = `INSERT INTO plain.outbox (payload) VALUES ($1)`
)

func (h *hotSale) reservePlain(ctx context.Context, sku string) error {
	return pg.InTx(ctx, h.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, plainTake, sku); err != nil {
			return err
		}
		key := id.New()
		if _, err := tx.Exec(ctx, plainReserve, key, sku, time.Now().Add(15*time.Minute)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, plainOutbox, key.String())
		return err
	})
}

// compare lets both sides take turns and reports rates, percentiles and their ratios under the suffix.
func (h *hotSale) compare(ctx context.Context, f figures, suffix string, pick func(*rand.Rand) string) error {
	h.log.progress("%d rounds%s", hotRounds, suffix)
	var ours, theirs buying
	var ratios []float64
	for round := range hotRounds {
		seed := uint64(round)
		cpu := startCPU(ctx, h.db)
		a, err := buy(ctx, seed, func(ctx context.Context, _ int, r *rand.Rand) error { return h.reservePlain(ctx, pick(r)) })
		if err != nil {
			return fmt.Errorf("baseline%s: %w", suffix, err)
		}
		cpu.perUnit(f, "cpu_ms_per_unit"+suffix+"_baseline", len(a.waits))
		cpu = startCPU(ctx, h.db)
		o, err := buy(ctx, seed, func(ctx context.Context, _ int, r *rand.Rand) error { return h.reserve(ctx, h.stock, pick(r)) })
		if err != nil {
			return fmt.Errorf("ours%s: %w", suffix, err)
		}
		cpu.perUnit(f, "cpu_ms_per_unit"+suffix, len(o.waits))
		ratios = append(ratios, o.rate()/a.rate())
		ours.add(o)
		theirs.add(a)
	}
	slices.Sort(ratios)
	f["per_second"+suffix], f["per_second_baseline"+suffix] = round(ours.rate(), 0), round(theirs.rate(), 0)
	f["ratio"+suffix] = round(ratios[len(ratios)/2], 2) // the middle round
	f["p99_ms"+suffix], f["p99_ms_baseline"+suffix] = ours.p99(), theirs.p99()
	f["ratio_p99"+suffix] = round(ours.p99()/theirs.p99(), 4)
	return nil
}

// twoProcesses measures two services with pools of their own, half of the buyers each: both combining, and one of them
// leaving its buyers to the normal lane, as it would if lanes belonged to one process.
func (h *hotSale) twoProcesses(ctx context.Context, f figures) error {
	h.log.progress("two processes")
	other, err := pg.Open(ctx, h.db.Config().ConnString(), hotBuyers/2)
	if err != nil {
		return err
	}
	defer other.Close()
	second := h.service(other)
	both, err := buy(ctx, 1, func(ctx context.Context, buyer int, _ *rand.Rand) error {
		return h.reserve(ctx, []*inventory.Service{h.stock, second}[buyer%2], "hot")
	})
	if err != nil {
		return err
	}
	one, err := buy(ctx, 2, func(ctx context.Context, buyer int, _ *rand.Rand) error {
		if buyer%2 == 0 {
			return h.reserve(ctx, h.stock, "hot")
		}
		b := inventory.Basket{
			Ref: inventory.Ref{Kind: "bench", ID: id.New().String()}, ExpiresAt: time.Now().Add(15 * time.Minute),
			Lines: []inventory.Want{{Line: 1, SKU: "hot", Location: "W1", Quantity: 1}},
		}
		err := pg.InTx(ctx, other, func(tx pgx.Tx) error { _, err := second.Reserve(ctx, tx, b); return err })
		if err == nil {
			h.acked.Add(1)
		}
		return err
	})
	if err != nil {
		return err
	}
	f["per_second_two"], f["p99_ms_two"] = round(both.rate(), 0), both.p99()
	f["per_second_two_one_combining"], f["p99_ms_two_one_combining"] = round(one.rate(), 0), one.p99()
	return nil
}

// sellOut lets the buyers fight for the last thousand.
func (h *hotSale) sellOut(ctx context.Context, f figures) error {
	h.log.progress("selling out")
	var sold, refused atomic.Int64
	if _, err := buy(ctx, 3, func(ctx context.Context, _ int, _ *rand.Rand) error {
		err := h.reserve(ctx, h.stock, "sale")
		switch {
		case err == nil:
			sold.Add(1)
		case errors.Is(err, inventory.ErrShort):
			refused.Add(1)
			err = nil
		}
		return err
	}); err != nil {
		return err
	}
	f["sold"], f["refused"], f["oversold"] = sold.Load(), refused.Load(), max(sold.Load()-hotStock, 0)
	return nil
}

// buying is what buyers did in a while.
type buying struct {
	took  time.Duration
	waits []time.Duration
}

func (b *buying) add(o buying) {
	b.took += o.took
	b.waits = append(b.waits, o.waits...)
}

func (b *buying) rate() float64 { return float64(len(b.waits)) / b.took.Seconds() }

func (b *buying) p99() float64 {
	slices.Sort(b.waits)
	return round(b.waits[len(b.waits)*99/100].Seconds()*1000, 2)
}

// buy lets the buyers buy one after the other for a few seconds. Only those who wait at the end are still answered.
func buy(ctx context.Context, seed uint64, do func(context.Context, int, *rand.Rand) error) (buying, error) {
	var mu sync.Mutex
	var out buying
	var failed error
	start := time.Now()
	var wg sync.WaitGroup
	for buyer := range hotBuyers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(buyer)))
			var waits []time.Duration
			var err error
			for err == nil && time.Since(start) < hotSeconds*time.Second {
				began := time.Now()
				err = do(ctx, buyer, r)
				waits = append(waits, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			out.waits = append(out.waits, waits...)
			failed = errors.Join(failed, err)
		})
	}
	wg.Wait()
	out.took = time.Since(start)
	return out, failed
}
