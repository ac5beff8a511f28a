// Package harness runs real lianke processes in tests: several on one database, with roles of their own, killed with
// SIGKILL, paused and resumed. It is for what cannot be shown inside one process: leases and fencing, crash recovery,
// what stands in logs. Start waits for readiness by asking /readyz; nothing sleeps and hopes.
//
//	db := pgtest.URL(t)
//	a := harness.Start(t, harness.Options{DatabaseURL: db, Roles: []string{"jobs"}})
//	b := harness.Start(t, harness.Options{DatabaseURL: db, Roles: []string{"api", "send"}})
//	a.Kill()
package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Deadline bounds every wait of the harness. It is generous: how fast something is belongs to benchmarks.
const Deadline = 30 * time.Second

// Options describe one process.
type Options struct {
	DatabaseURL string   // required
	RedisURL    string   // default: LIANKE_TEST_REDIS_URL, else off
	DataDir     string   // default: a directory of the process's own, and the master key that all such processes have
	Roles       []string // of Start; default: all
	Env         []string // more variables, NAME=value
	Args        []string // more flags
}

// Process is a running lianke.
type Process struct {
	Addr  string // public address, where a role has one
	Admin string // admin address

	t      testing.TB
	cmd    *exec.Cmd
	out    *buffer // standard output
	log    *buffer // standard error
	exited chan struct{}
	code   int
}

// Start runs `lianke serve` and waits until it is ready.
func Start(t testing.TB, o Options) *Process {
	t.Helper()
	args := []string{"serve", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"}
	if len(o.Roles) > 0 {
		args = append(args, "--roles", strings.Join(o.Roles, ","))
	}
	p := Command(t, o, append(args, o.Args...)...)
	p.Await("the process listens", func() bool {
		for _, l := range p.lines() {
			switch {
			case l.Msg == "listening" && l.Server == "api":
				p.Addr = l.Addr
			case l.Msg == "listening" && l.Server == "admin":
				p.Admin = l.Addr
			}
		}
		return p.Admin != ""
	})
	p.Await("the process is ready", p.Ready)
	return p
}

// Command starts any subcommand and returns at once; o.Roles and o.Args are not used. The process is killed when the
// test ends.
func Command(t testing.TB, o Options, args ...string) *Process {
	t.Helper()
	require.NotEmpty(t, o.DatabaseURL, "harness: a process needs a database")
	if o.RedisURL == "" {
		o.RedisURL = os.Getenv("LIANKE_TEST_REDIS_URL")
	}
	if o.RedisURL == "" {
		o.RedisURL = "off"
	}
	if o.DataDir == "" {
		o.DataDir = t.TempDir()
		o.Env = append([]string{"LIANKE_MASTER_KEY=" + strings.Repeat("5eed", 16)}, o.Env...)
	}
	p := &Process{t: t, out: &buffer{}, log: &buffer{}, exited: make(chan struct{})}
	p.cmd = exec.Command(Binary(t), args...)
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "LIANKE_") })
	p.cmd.Env = append(p.cmd.Env, "LIANKE_DATABASE_URL="+o.DatabaseURL, "LIANKE_REDIS_URL="+o.RedisURL, "LIANKE_DATA_DIR="+o.DataDir)
	p.cmd.Env = append(p.cmd.Env, o.Env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.log
	require.NoError(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // also ends a paused process
		<-p.exited
		if t.Failed() {
			t.Logf("lianke %s (exit %d):\n%s", strings.Join(args, " "), p.code, tail(p.Log(), 40))
		}
	})
	return p
}

// Run runs a subcommand to its end and returns its exit status; output and log are read from the process.
func Run(t testing.TB, o Options, args ...string) (*Process, int) {
	t.Helper()
	p := Command(t, o, args...)
	return p, p.Wait(10 * time.Minute)
}

// Ready asks /readyz once.
func (p *Process) Ready() bool {
	ctx, cancel := context.WithTimeout(p.t.Context(), 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Admin+"/readyz", nil)
	require.NoError(p.t, err)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// Await polls done until it is true; it fails the test when the process ends first or the deadline passes.
func (p *Process) Await(what string, done func() bool) {
	p.t.Helper()
	deadline := time.NewTimer(Deadline)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if done() {
			return
		}
		select {
		case <-p.exited:
			if done() { // what it said last
				return
			}
			require.FailNow(p.t, "the process ended while the test waited: "+what, tail(p.Log(), 20))
		case <-deadline.C:
			require.FailNow(p.t, "waited too long: "+what, tail(p.Log(), 20))
		case <-tick.C:
		}
	}
}

// AwaitLog waits until the log contains text.
func (p *Process) AwaitLog(text string) {
	p.t.Helper()
	p.Await("the log says "+text, func() bool { return strings.Contains(p.Log(), text) })
}

// Kill ends the process with SIGKILL, as a crash or the kernel's memory killer would.
func (p *Process) Kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(p.t, err)
	}
	<-p.exited
}

// Pause stops the process in the middle of whatever it does (SIGSTOP), as a long garbage collection or a frozen virtual
// machine would.
func (p *Process) Pause() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGSTOP))
}

// Resume lets a paused process go on (SIGCONT).
func (p *Process) Resume() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGCONT))
}

// Stop asks the process to end (SIGTERM) and requires that it does so in good order.
func (p *Process) Stop() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(p.t, 0, p.Wait(Deadline), "exit status after SIGTERM")
}

// Wait waits for the process to end and returns its exit status; -1 after a signal.
func (p *Process) Wait(limit time.Duration) int {
	p.t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		require.FailNow(p.t, fmt.Sprintf("the process did not end within %s", limit), tail(p.Log(), 20))
	}
	return p.code
}

// Running says whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Log returns what the process has written to standard error so far.
func (p *Process) Log() string { return p.log.String() }

// Output returns what the process has written to standard output so far.
func (p *Process) Output() string { return p.out.String() }

// JSON decodes the last line of standard output, where every command with --json puts its result.
func (p *Process) JSON(v any) {
	p.t.Helper()
	lines := strings.Split(strings.TrimSpace(p.Output()), "\n")
	require.NoError(p.t, json.Unmarshal([]byte(lines[len(lines)-1]), v), p.Output())
}

type logLine struct {
	Msg    string `json:"msg"`
	Server string `json:"server"`
	Addr   string `json:"addr"`
}

func (p *Process) lines() []logLine {
	var out []logLine
	for line := range strings.Lines(p.Log()) {
		var l logLine
		if json.Unmarshal([]byte(line), &l) == nil {
			out = append(out, l)
		}
	}
	return out
}

// buffer collects what a process writes while the test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

var build struct {
	once sync.Once
	path string
	err  error
}

// Binary returns the lianke program of the current source. It is built once per test binary, at a path that all test
// binaries of the checkout share, so that those which follow find it up to date.
func Binary(t testing.TB) string {
	t.Helper()
	build.once.Do(func() { build.path, build.err = buildBinary() })
	require.NoError(t, build.err)
	return build.path
}

func buildBinary() (string, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find module: %w", err)
	}
	dir := strings.TrimSpace(string(root))
	bin := filepath.Join(dir, "bin", "test")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(bin, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	path := filepath.Join(bin, "lianke")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/lianke")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build lianke: %w\n%s", err, out)
	}
	return path, nil
}
