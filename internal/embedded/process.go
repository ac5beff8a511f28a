package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// procs returns the pids of the live processes called name whose command line contains mark. Zombies are dead.
func procs(name, mark string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && isProc(pid, name, mark) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func isProc(pid int, name, mark string) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return false
	}
	// pid (comm) state …; comm may itself hold parentheses.
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end+2 >= len(stat) || string(stat[open+1:end]) != name || stat[end+2] == 'Z' {
		return false
	}
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	return err == nil && strings.Contains(string(cmdline), mark)
}

// credential is the user a server runs as; nil is our own.
type credential struct {
	name     string
	uid, gid uint32
}

func (c *credential) attr() *syscall.SysProcAttr {
	// A session of its own: Ctrl-C in our terminal must not reach it.
	attr := &syscall.SysProcAttr{Setsid: true}
	if c != nil {
		attr.Credential = &syscall.Credential{Uid: c.uid, Gid: c.gid}
	}
	return attr
}

// spawn starts a server that outlives us, with its output appended to logFile, and collects it when it ends while we
// still live. The channel is closed at its end.
func spawn(cmd *exec.Cmd, as *credential, logFile string) (<-chan struct{}, error) {
	out, err := os.OpenFile(logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, as.attr()
	cmd.Env = childEnv()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	return ended, nil
}

// childEnv keeps the environment of servers small: PG* variables would change what they do.
func childEnv() []string { return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TZ=UTC"} }

// poll calls done until it says true, fails, or ctx ends.
func poll(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// stop sends each signal in turn to the processes that find returns, waiting for all of them to end before the next.
func stop(ctx context.Context, find func() ([]int, error), steps []stopStep) error {
	var last error
	for _, step := range steps {
		pids, err := find()
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("signal process %d: %w", pid, err)
			}
		}
		wait, cancel := context.WithTimeout(ctx, step.wait)
		last = poll(wait, 20*time.Millisecond, func() (bool, error) {
			left, err := find()
			return len(left) == 0, err
		})
		cancel()
		if last == nil || ctx.Err() != nil {
			return last
		}
	}
	return fmt.Errorf("the server does not stop: %w", last)
}

type stopStep struct {
	signal syscall.Signal
	wait   time.Duration
}

// tail returns the last lines of a log, for an error that says what happened.
func tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
