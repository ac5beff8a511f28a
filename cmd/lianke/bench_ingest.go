package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/jobs"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/identity"
	"github.com/lianke/lianke/member/tracking"
)

const (
	ingestEvents  = 200_000
	ingestPeople  = 5_000
	ingestClients = 16     // that send batches
	ingestSingles = 20_000 // calls of one event each, from ingestDevices clients
	ingestDevices = 128
)

func ingestBench() benchmark {
	return benchmark{
		name:  "ingest",
		about: "track events through HTTP to committed activity, beside COPY into an identical table with the same indexes",
		run:   benchIngest,
	}
}

// benchIngest sends events of known people over HTTP, in batches of 100 and one by one, and copies the rows that came of
// them into a table with the same columns and indexes. The clients run in this process: their processor time is in the
// figures.
func benchIngest(ctx context.Context, b *benchRun) error {
	db, drop, err := b.scratch(ctx, 16)
	if err != nil {
		return err
	}
	defer drop()
	url, stop, err := serveTracking(ctx, b, db)
	if err != nil {
		return err
	}
	defer stop()
	b.progress("registering %d people", ingestPeople)
	if err := sendAll(ctx, url, ingestClients, ingestBodies("warm", ingestPeople, 100)); err != nil {
		return err
	}
	for _, set := range []struct {
		name                string
		events, by, clients int
	}{{"batches of 100", ingestEvents, 100, ingestClients}, {"single calls", ingestSingles, 1, ingestDevices}} {
		bodies := ingestBodies(set.name, set.events, set.by)
		b.progress("sending %d events in %s", set.events, set.name)
		cpu := startCPU(ctx, db)
		began := time.Now()
		if err := sendAll(ctx, url, set.clients, bodies); err != nil {
			return err
		}
		took := time.Since(began)
		f := figures{"events": set.events, "clients": set.clients, "events_per_s": round(float64(set.events)/took.Seconds(), 0)}
		cpu.perUnit(f, "cpu_ms_per_unit", set.events)

		b.progress("copying the same rows")
		cpu = startCPU(ctx, db)
		copied, copyTook, err := copyActivities(ctx, db, "bench/"+set.name)
		if err != nil {
			return err
		}
		if copied != int64(set.events) {
			return fmt.Errorf("sent %d events, but %d were committed", set.events, copied)
		}
		f["copy_per_s"] = round(float64(copied)/copyTook.Seconds(), 0)
		f["ratio"] = round(copyTook.Seconds()/took.Seconds(), 3)
		cpu.perUnit(f, "copy_cpu_ms_per_unit", set.events)
		if err := b.report(set.name, f); err != nil {
			return err
		}
	}
	return nil
}

// serveTracking serves the tracking API on a database, on a local port.
func serveTracking(ctx context.Context, b *benchRun, db *pg.Pool) (url string, stop func(), err error) {
	log := activity.NewLog(db, b.app.clock, b.app.log)
	graph := identity.New(db, b.app.clock, b.app.ring, log, events.New(db, b.app.clock, jobs.New(nil, b.app.log)))
	secrets := member.NewSecrets(b.app.ring, func(context.Context, pgx.Tx, member.Birth, string, string) error { return nil })
	keys := auth.New(db, b.app.clock, b.app.log, nil)
	_, _, err = keys.CreateKey(ctx, auth.System, auth.CreateKeyInput{Kind: auth.KeyWrite, Name: "bench", Source: "bench", PerSecond: 1_000_000, Secret: benchKey})
	if err != nil {
		return "", nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{
		Handler:           tracking.NewHandler(keys, tracking.NewWriter(db, b.app.clock, capture.New(graph, secrets, log, b.app.clock), log)),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			b.progress("tracking server: %v", err)
		}
	}()
	return "http://" + listener.Addr().String() + "/v1/", func() { _ = server.Close() }, nil
}

const benchKey = "lk_write_bench"

// ingestBodies prepares the requests, so that making them is not measured.
func ingestBodies(set string, n, by int) [][]byte {
	var out [][]byte
	for i := 0; i < n; i += by {
		var body bytes.Buffer
		if by > 1 {
			body.WriteString(`{"batch":[`)
		}
		for k := i; k < min(i+by, n); k++ {
			if k > i {
				body.WriteByte(',')
			}
			fmt.Fprintf(&body, `{"type":"track","messageId":"bench/%s/%d","userId":"person-%d","event":"Product Viewed","context":{"library":{"name":"analytics.js"}},`+
				`"properties":{"product_id":"SKU-%d","category":"餐具","price":%d.5,"quantity":1,"bench":"bench/%s"}}`, set, k, k%ingestPeople, k%997, 10+k%300, set)
		}
		if by > 1 {
			body.WriteString(`]}`)
		}
		out = append(out, body.Bytes())
	}
	return out
}

// sendAll posts the bodies from all clients and returns when the last is answered.
func sendAll(ctx context.Context, url string, clients int, bodies [][]byte) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	path := "track"
	if bytes.HasPrefix(bodies[0], []byte(`{"batch"`)) {
		path = "batch"
	}
	g, ctx := errgroup.WithContext(ctx)
	for c := range clients {
		g.Go(func() error {
			for i := c; i < len(bodies); i += clients {
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+path, bytes.NewReader(bodies[i]))
				if err != nil {
					return fmt.Errorf("make request: %w", err)
				}
				req.SetBasicAuth(benchKey, "")
				resp, err := client.Do(req)
				if err != nil {
					return fmt.Errorf("send events: %w", err)
				}
				answer, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					return fmt.Errorf("send events: %s: %s", resp.Status, answer)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// copyActivities copies the rows of a set into a new table with the columns, constraints and indexes of the log.
func copyActivities(ctx context.Context, db *pg.Pool, set string) (n int64, took time.Duration, err error) {
	rows, err := db.Query(ctx, `
		SELECT id, birth, key, occurred_at, recorded_at, mode, touchpoint, source, props
		FROM member.activities WHERE props->>'bench' = $1 ORDER BY id`, set)
	if err != nil {
		return 0, 0, fmt.Errorf("read the set: %w", err)
	}
	var values [][]any
	for rows.Next() {
		row, err := rows.Values()
		if err != nil {
			return 0, 0, fmt.Errorf("read the set: %w", err)
		}
		values = append(values, row)
	}
	if err := rows.Err(); err != nil {
		return 0, 0, fmt.Errorf("read the set: %w", err)
	}
	if _, err := db.Exec(ctx, `DROP TABLE IF EXISTS public.copied; CREATE TABLE public.copied (LIKE member.activities INCLUDING ALL)`); err != nil {
		return 0, 0, fmt.Errorf("make the table: %w", err)
	}
	began := time.Now()
	n, err = db.CopyFrom(ctx, pgx.Identifier{"public", "copied"},
		[]string{"id", "birth", "key", "occurred_at", "recorded_at", "mode", "touchpoint", "source", "props"}, pgx.CopyFromRows(values))
	if err != nil {
		return 0, 0, fmt.Errorf("copy: %w", err)
	}
	return n, time.Since(began), nil
}
