package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"github.com/lianke/lianke/internal/config"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/loops"
	"github.com/lianke/lianke/internal/obs"
)

func serveCommand() command {
	return command{
		name:  "serve",
		args:  "[--roles LIST] [--addr HOST:PORT] [--admin-addr HOST:PORT]",
		about: "run the platform, or some roles of it",
		run:   serve,
	}
}

// publicRoles are those that answer on the public address.
var publicRoles = []string{"api", "ingest", "chat"}

var errListen = fault.New(fault.Unavailable, "serve.listen", "无法监听 {addr}", "cannot listen on {addr}").
	WithHint("请用 --addr / --admin-addr 指定其他端口,或停止占用它的程序", "choose another port with --addr or --admin-addr, or stop the program that has it")

func serve(ctx context.Context, c console, args []string) error {
	fs := newFlags(c, serveCommand())
	flags := commonFlags(fs)
	roles := fs.String("roles", "", "comma-separated: "+strings.Join(config.Roles, ",")+" (default $LIANKE_ROLES, else all)")
	addr := fs.String("addr", "", "where the API listens (default $LIANKE_ADDR, else 127.0.0.1:8080)")
	adminAddr := fs.String("admin-addr", "", "where health and metrics listen, or off (default $LIANKE_ADMIN_ADDR, else 127.0.0.1:8081)")
	if err := parseFlags(fs, args); err != nil {
		return err
	}
	cfg, err := flags.config()
	if err != nil {
		return err
	}
	fs.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "roles":
			cfg.Roles = strings.Split(*roles, ",")
		case "addr":
			cfg.Addr = *addr
		case "admin-addr":
			cfg.AdminAddr = *adminAddr
		}
	})
	if err := config.CheckRoles(cfg.Roles); err != nil {
		return err
	}
	if err := config.CheckAddr("--addr", cfg.Addr); err != nil {
		return err
	}
	if cfg.AdminAddr != "off" {
		if err := config.CheckAddr("--admin-addr", cfg.AdminAddr); err != nil {
			return err
		}
	}
	if err := announceNew(cfg, c); err != nil {
		return err
	}
	return serveWith(ctx, c, cfg, func(a *app, addr string) {
		if addr == "" {
			return
		}
		fmt.Fprintf(c.out, "http://%s\n", addr)
		password, err := a.auth.EnsureAdmin(ctx)
		if err != nil {
			a.log.ErrorContext(ctx, "the first operator could not be made", "error", err)
		} else if password != "" {
			fmt.Fprintf(c.out, "首位操作员 first operator: admin / %s (仅显示一次 shown only now)\n", password)
		}
	})
}

// serveWith runs the platform until ctx ends. ready, if any, is called with the public address once everything runs.
func serveWith(ctx context.Context, c console, cfg config.Config, ready func(a *app, addr string)) (err error) {
	a, err := openAppWith(ctx, c, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()

	stopTracing, err := obs.Trace(ctx, cfg.OTLPEndpoint, cfg.TraceSample, version())
	if err != nil {
		return err
	}
	defer func() {
		flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := stopTracing(flush); err != nil {
			a.log.WarnContext(flush, "traces were lost", "error", err)
		}
	}()

	group := loops.New(a.log, a.loops, cfg.Roles)
	a.metrics.WatchLoops(group.States)
	health := &obs.Health{Database: a.db.Ping, Redis: a.redis.Ping, Loops: group.States}

	var servers []*server
	if slices.ContainsFunc(cfg.Roles, func(r string) bool { return slices.Contains(publicRoles, r) }) {
		handler := otelhttp.NewHandler(a.metrics.HTTP(a.log, a.api.Handler(cfg.Roles...)), "http")
		s, err := listen(ctx, "api", cfg.Addr, handler)
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	if cfg.AdminAddr != "off" {
		s, err := listen(ctx, "admin", cfg.AdminAddr, obs.AdminHandler(health, a.metrics))
		if err != nil {
			closeAll(servers)
			return err
		}
		servers = append(servers, s)
	}

	run, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, len(servers))
	for _, s := range servers {
		a.log.InfoContext(ctx, "listening", "server", s.name, "addr", s.addr())
		go func() { failed <- s.serve() }()
	}
	loopsDone := make(chan struct{})
	go func() {
		defer close(loopsDone)
		group.Run(run)
	}()
	a.log.InfoContext(ctx, "serving", "version", version(), "roles", strings.Join(cfg.Roles, ","), "data_dir", cfg.DataDir)
	if ready != nil {
		public := ""
		if len(servers) > 0 && servers[0].name == "api" {
			public = servers[0].addr()
		}
		ready(a, public)
	}

	// A listener that fails is fatal: nothing else could be reached, and whoever started us will start us again.
	select {
	case <-ctx.Done():
	case err = <-failed:
		a.log.ErrorContext(ctx, "listener failed; stopping", "error", err)
	}
	health.Stopping()
	a.log.InfoContext(ctx, "stopping")
	stop()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.ShutdownTimeout)
	defer cancel()
	for _, s := range servers {
		err = errors.Join(err, s.shutdown(grace))
	}
	select {
	case <-loopsDone:
	case <-grace.Done():
		// Whatever they do is in transactions and leases: ending the process now loses nothing.
		a.log.WarnContext(grace, "loops did not stop in time")
	}
	return err
}

// server is one listener with its handler.
type server struct {
	name string
	ln   net.Listener
	http *http.Server
}

func listen(ctx context.Context, name, addr string, h http.Handler) (*server, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		hint := errListen.With("addr", addr)
		if errors.Is(err, syscall.EACCES) {
			hint = hint.WithHint("1024 以下的端口需要特权,请选择更大的端口", "ports below 1024 need privileges; choose a higher one")
		}
		return nil, hint.Because(err)
	}
	return &server{name: name, ln: ln, http: &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		// Requests at work survive the signal; shutdown waits for them.
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}}, nil
}

func (s *server) addr() string { return s.ln.Addr().String() }

func (s *server) serve() error {
	if err := s.http.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s server: %w", s.name, err)
	}
	return nil
}

func (s *server) shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
		if !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("stop %s server: %w", s.name, err)
		}
	}
	return nil
}

func closeAll(servers []*server) {
	for _, s := range servers {
		_ = s.ln.Close()
	}
}
