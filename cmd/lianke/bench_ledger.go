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
	ledgerTransfers = 250_000 // per lane, two postings each: a million postings in all
	ledgerBaseline  = 20_000  // transfers of the baseline per lane
	ledgerBook      = "bench"
)

func ledgerBench() benchmark {
	return benchmark{
		name: "ledger",
		about: "a million postings by 64 clients, each waiting for its own transfer to be durable, to one hot account and over " +
			"100,000 spread accounts, beside plain-SQL double entry",
		run: benchLedger,
	}
}

// benchLedger measures per lane: transfers through the combiner, between two halves of the baseline in the same minute.
// The baseline is the usual double entry without idempotency keys or transaction rows: one database transaction per
// transfer with two updates of balances (in a fixed order) and two inserted postings, sent in one round trip.
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
	f := figures{"postings": 4 * ledgerTransfers, "clients": ledgerClients, "accounts": ledgerAccounts}
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
	f["balanced"] = report.OK() && report.Postings == 4*ledgerTransfers
	for k, v := range machine() {
		f[k] = v
	}
	return b.report("postings", f)
}

func benchLedgerLane(ctx context.Context, b *benchRun, db *pg.Pool, c *ledger.Combiner, lane string, f figures) error {
	b.progress("%s: %d transfers beside the baseline", lane, ledgerTransfers)
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
	half := func() (time.Duration, error) {
		return driveTransfers(ctx, ledgerBaseline/2, func(ctx context.Context, r *rand.Rand) error {
			return plainTransfer(ctx, db, ends, r)
		})
	}
	cpu := startCPU(ctx, db)
	first, err := half()
	if err != nil {
		return err
	}
	cpu.perUnit(f, "cpu_ms_per_unit_"+lane+"_baseline", ledgerBaseline/2)

	at := b.app.clock.Now()
	cpu = startCPU(ctx, db)
	took, err := driveTransfers(ctx, ledgerTransfers, func(ctx context.Context, r *rand.Rand) error {
		from, to := ends(r)
		_, err := c.Post(ctx, ledger.Transfer(id.New(), ledgerBook, "bench", at, ledgerAccount(from), ledgerAccount(to), 1+int64(r.IntN(100))))
		return err
	})
	if err != nil {
		return err
	}
	cpu.perUnit(f, "cpu_ms_per_unit_"+lane, ledgerTransfers)

	second, err := half()
	if err != nil {
		return err
	}
	ours, theirs := ledgerTransfers/took.Seconds(), ledgerBaseline/(first+second).Seconds()
	f["per_second_"+lane] = round(ours, 0)
	f["per_second_"+lane+"_baseline"] = round(theirs, 0)
	f["ratio_"+lane] = round(ours/theirs, 2)
	return nil
}

// driveTransfers lets the clients do n transfers between them.
func driveTransfers(ctx context.Context, n int64, do func(context.Context, *rand.Rand) error) (time.Duration, error) {
	start := time.Now()
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for client := range ledgerClients {
		g.Go(func() error {
			r := rand.New(rand.NewPCG(2026, uint64(client)))
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

const plainTablesSQL = `
CREATE SCHEMA plain;
CREATE TABLE plain.accounts (id bigint PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE plain.postings (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account_id bigint NOT NULL, amount bigint NOT NULL,
    at timestamptz NOT NULL);
CREATE INDEX ON plain.postings (account_id, id);
INSERT INTO plain.accounts SELECT i, 0 FROM generate_series(0, 100000) i;
ANALYZE`

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
	_, err := db.Exec(ctx, plainTablesSQL)
	return err
}

const (
	// On the tables of plainTablesSQL, not of the migrated schema: so not named …SQL, which internal/archtest prepares.
	plainUpdate = `UPDATE plain.accounts SET balance = balance + $2 WHERE id = $1`
	plainInsert = `INSERT INTO plain.postings (account_id, amount, at) VALUES ($1, $2, $3)`
)

func plainTransfer(ctx context.Context, db *pg.Pool, ends func(*rand.Rand) (int, int), r *rand.Rand) error {
	from, to := ends(r)
	amount, at := 1+r.IntN(100), time.Now()
	return pg.InTx(ctx, db, func(tx pgx.Tx) error {
		var b pgx.Batch
		low, lowAmount, high, highAmount := from, -amount, to, amount
		if high < low {
			low, lowAmount, high, highAmount = high, highAmount, low, lowAmount
		}
		b.Queue(plainInsert, from, -amount, at)
		b.Queue(plainInsert, to, amount, at)
		// The balances last, the hot one (0) after the other, so that its lock is held as briefly as can be.
		if low == 0 {
			low, lowAmount, high, highAmount = high, highAmount, low, lowAmount
		}
		b.Queue(plainUpdate, low, lowAmount)
		b.Queue(plainUpdate, high, highAmount)
		return tx.SendBatch(ctx, &b).Close()
	})
}
