// Command stackrun runs a command beside a PostgreSQL and a Redis of its own, tuned for tests and thrown away afterwards:
//
//	go run ./internal/embedded/stackrun go test ./...
//
// The command finds them in LIANKE_TEST_DATABASE_URL and LIANKE_TEST_REDIS_URL; its exit status is returned.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/lianke/lianke/internal/embedded"
	"github.com/lianke/lianke/internal/fault"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: stackrun COMMAND [ARG…]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "stackrun:", err)
		if f := fault.From(err); f.Hint.ZH != "" {
			fmt.Fprintln(os.Stderr, "  →", f.Hint.ZH)
		}
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string) (code int, err error) {
	dir, err := os.MkdirTemp("", "lianke-test-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// As root the servers run as users of their own, who must pass through.
	if err := os.Chmod(dir, 0o711); err != nil {
		return 1, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	stack, err := embedded.Open(ctx, embedded.Options{Dir: dir, Log: log, Postgres: true, Redis: true, Test: true})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()

	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "LIANKE_TEST_DATABASE_URL="+stack.DatabaseURL, "LIANKE_TEST_REDIS_URL="+stack.RedisURL)
	// On Ctrl-C the command gets the terminal's signal too, and time to clean up.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}
