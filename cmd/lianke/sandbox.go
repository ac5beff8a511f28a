package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/lianke/lianke/channels/sandbox"
)

func sandboxCommand() command {
	return command{
		name:  "sandbox",
		about: "run the local stand-ins of WeChat, SMS and mail",
		run:   runSandbox,
	}
}

// runSandbox serves until interrupted. The route file tells other processes how to reach it: LIANKE_SANDBOX=FILE.
func runSandbox(ctx context.Context, c console, args []string) error {
	fs := newFlags(c, sandboxCommand())
	common := commonFlags(fs)
	dir := fs.String("dir", "", "folder for sandbox.json, ca.pem and sends.jsonl (default: sandbox under the data directory)")
	public := fs.String("public", "127.0.0.1:8080", "where lianke serves: members' taps on public links go there")
	seed := fs.Uint64("seed", 0, "seed of the members' reactions")
	if err := parseFlags(fs, args); err != nil {
		return err
	}
	if *dir == "" {
		base := common.dataDir
		if base == "" {
			base = os.TempDir()
		}
		*dir = filepath.Join(base, "sandbox")
	}
	if err := os.MkdirAll(*dir, 0o700); err != nil {
		return fmt.Errorf("sandbox folder: %w", err)
	}
	caFile := filepath.Join(*dir, "ca.pem")
	s, err := sandbox.Start(sandbox.Options{
		Log:    slog.New(slog.NewJSONHandler(c.err, nil)),
		Ledger: filepath.Join(*dir, "sends.jsonl"),
		CAFile: caFile,
		Public: *public,
		Seed:   *seed,
	})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := os.WriteFile(caFile, s.CA(), 0o600); err != nil {
		return fmt.Errorf("write sandbox certificate: %w", err)
	}
	route := s.Route()
	data, err := json.Marshal(route)
	if err != nil {
		return fmt.Errorf("write sandbox route: %w", err)
	}
	// Written whole or not at all: its existence says that the sandbox answers.
	file := filepath.Join(*dir, "sandbox.json")
	if err := os.WriteFile(file+".tmp", data, 0o600); err != nil {
		return fmt.Errorf("write sandbox route: %w", err)
	}
	if err := os.Rename(file+".tmp", file); err != nil {
		return fmt.Errorf("write sandbox route: %w", err)
	}
	if common.json {
		fmt.Fprintf(c.out, "%s\n", data)
	} else {
		fmt.Fprintf(c.out, "providers  https://%s (by SNI and Host)\nsmtp       %s (STARTTLS), %s (TLS)\nadmin      http://%s/__sandbox/state\nca         %s\nledger     %s\n\nlianke reaches it with LIANKE_SANDBOX=%s\n",
			route.HTTPS, route.SMTP, route.SMTPS, route.Admin, route.CAFile, route.Ledger, file)
	}
	<-ctx.Done()
	return nil
}
