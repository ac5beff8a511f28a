package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/pg"
)

const (
	ledgerClients   = 64
	ledgerConns     = 32
	ledgerAccounts  = 100_000
	ledgerRounds    = 5
	ledgerTransfers = 50_000 // a lane and round, two postings each: a million postings in all
	ledgerBook      = "bench"
)

func ledgerBench() benchmark {
	return benchmark{
		name: "ledger",
		about: "a million postings by 64 clients, each waiting for its own transfer to be durable, to one hot account and over " +
			"100,000 spread accounts, beside three forms of plain-SQL double entry",
		run: benchLedger,
	}
}

// benchLedger measures both lanes in rounds; in each round the combiner and the baselines take turns, and the ratio is the
// median over the rounds.
func benchLedger(ctx context.Context, b *benchRun) error {
	db, drop, err := b.scratch(ctx, ledgerConns)
	if err != nil {
		return err
	}
	defer drop()
	l := ledger.New()
	b.progress("opening %d accounts", ledgerAccounts)
	if err := openLedgerAccounts(ctx, db, l); err != nil {
		return fmt.Errorf("open accounts: %w", err)
	}
	f := figures{"postings": 4 * ledgerTransfers * ledgerRounds, "clients": ledgerClients, "accounts": ledgerAccounts}
	c := l.Combine(db)
	for _, lane := range []string{"hot", "spread"} {
		if err := benchLedgerLane(ctx, b, db, c, lane, f); err != nil {
			return fmt.Errorf("%s lane: %w", lane, err)
		}
	}
	b.progress("folding, verifying and rebuilding")
	if _, err := l.Fold(ctx, db); err != nil {
		return err
	}
	report, err := l.Verify(ctx, db)
	if err != nil {
		return err
	}
	start := time.Now()
	rebuilt, err := l.Rebuild(ctx, db)
	if err != nil {
		return err
	}
	f["rebuild_seconds"] = round(time.Since(start).Seconds(), 2)
	f["rebuild_identical"] = rebuilt.Identical
	f["balanced"] = report.OK() && report.Postings == 4*ledgerTransfers*ledgerRounds
	for k, v := range machine() {
		f[k] = v
	}
	return b.report("postings", f)
}

func benchLedgerLane(ctx context.Context, b *benchRun, db *pg.Pool, c *ledger.Combiner, lane string, f figures) error {
	ends := func(r *rand.Rand) (from, to int) {
		from = 1 + r.IntN(ledgerAccounts)
		if lane == "hot" {
			return from, 0
		}
		for to = from; to == from; {
			to = 1 + r.IntN(ledgerAccounts)
		}
		return from, to
	}
	at := b.app.clock.Now()
	ours := &ledgerForm{name: lane, transfers: ledgerTransfers, do: func(ctx context.Context, r *rand.Rand) error {
		from, to := ends(r)
		_, err := c.Post(ctx, ledger.Transfer(id.New(), ledgerBook, "bench", at, ledgerAccount(from), ledgerAccount(to), 1+int64(r.IntN(100))))
		return err
	}}
	var forms []*ledgerForm
	for _, plain := range plainForms() {
		forms = append(forms, &ledgerForm{name: lane + plain.suffix, transfers: plain.transfers(lane), do: func(ctx context.Context, r *rand.Rand) error {
			from, to := ends(r)
			return plain.transfer(ctx, db, from, to, 1+r.Int64N(100), at)
		}})
	}
	for round := range ledgerRounds {
		b.progress("%s: round %d of %d", lane, round+1, ledgerRounds)
		for i, form := range append([]*ledgerForm{ours}, forms...) {
			if err := form.measure(ctx, db, uint64(10*round+i)); err != nil {
				return fmt.Errorf("%s: %w", form.name, err)
			}
		}
	}
	ours.report(f)
	for i, form := range forms {
		form.report(f)
		ours.compare(f, "ratio_"+lane+plainForms()[i].ratio, form)
	}
	return nil
}

// ledgerForm is one way to post, and what it took in each round.
type ledgerForm struct {
	name      string
	transfers int64
	do        func(context.Context, *rand.Rand) error
	rates     []float64
	cpu       []float64 // ms a transfer
}

func (x *ledgerForm) measure(ctx context.Context, db *pg.Pool, seed uint64) error {
	meter := startCPU(ctx, db)
	took, err := driveTransfers(ctx, x.transfers, seed, x.do)
	if err != nil {
		return err
	}
	used, _ := meter.since()
	x.rates = append(x.rates, float64(x.transfers)/took.Seconds())
	x.cpu = append(x.cpu, used.Seconds()*1000/float64(x.transfers))
	return nil
}

func (x *ledgerForm) report(f figures) {
	f["per_second_"+x.name] = round(median(x.rates), 0)
	f["cpu_ms_per_unit_"+x.name] = round(median(x.cpu), 4)
}

// compare adds the median ratio over the rounds, its spread, and the ratio of processor time.
func (x *ledgerForm) compare(f figures, key string, baseline *ledgerForm) {
	ratios, cpu := make([]float64, len(x.rates)), make([]float64, len(x.rates))
	for i := range x.rates {
		ratios[i], cpu[i] = x.rates[i]/baseline.rates[i], baseline.cpu[i]/x.cpu[i]
	}
	f[key] = round(median(ratios), 2)
	f[key+"_least"], f[key+"_most"] = round(slices.Min(ratios), 2), round(slices.Max(ratios), 2)
	f[key+"_cpu"] = round(median(cpu), 2)
}

func median(xs []float64) float64 {
	s := slices.Sorted(slices.Values(xs))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// driveTransfers lets the clients do n transfers between them.
func driveTransfers(ctx context.Context, n int64, seed uint64, do func(context.Context, *rand.Rand) error) (time.Duration, error) {
	start := time.Now()
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for client := range ledgerClients {
		g.Go(func() error {
			r := rand.New(rand.NewPCG(seed, uint64(client)))
			for next.Add(1) <= n {
				if err := do(ctx, r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	return time.Since(start), err
}

// ledgerAccount names an account; number 0 is the hot one.
func ledgerAccount(n int) string {
	if n == 0 {
		return "hot"
	}
	return fmt.Sprintf("member-%d", n)
}

func openLedgerAccounts(ctx context.Context, db *pg.Pool, l *ledger.Ledger) error {
	accounts := []ledger.Account{{Code: ledgerAccount(0), Lane: ledger.LaneHot}}
	for n := range ledgerAccounts {
		accounts = append(accounts, ledger.Account{Code: ledgerAccount(n + 1), Lane: ledger.LaneSpread})
	}
	for part := range slices.Chunk(accounts, 1000) {
		if err := pg.InTx(ctx, db, func(tx pgx.Tx) error {
			return l.Open(ctx, tx, ledgerBook, "points", time.Now(), part...)
		}); err != nil {
			return err
		}
		// An empty table's statistics would have the rest opened by scanning all of it for each.
		if _, err := db.Exec(ctx, `ANALYZE core.ledger_accounts, core.ledger_balances`); err != nil {
			return err
		}
	}
	_, err := db.Exec(ctx, plainTables)
	return err
}
