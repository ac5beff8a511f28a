package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lianke/lianke/internal/pg"
)

// cpuMeter reads the processor time of this process and, where the server runs on this machine and is visible in /proc,
// of PostgreSQL: the postmaster, its children, and those that have ended.
type cpuMeter struct {
	postmaster int // 0 if not visible
	own, db    time.Duration
}

// startCPU begins a measurement.
func startCPU(ctx context.Context, db *pg.Pool) cpuMeter {
	m := cpuMeter{own: ownCPU()}
	var backend int
	if err := db.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&backend); err != nil {
		return m
	}
	st, err := readStat(backend)
	if err != nil || !strings.HasPrefix(st.comm, "postgres") {
		return m
	}
	m.postmaster = st.parent
	m.db, _ = postgresCPU(m.postmaster)
	return m
}

// since returns the processor time used since start; ok says whether PostgreSQL's is in it.
func (m cpuMeter) since() (used time.Duration, ok bool) {
	used = ownCPU() - m.own
	if m.postmaster == 0 {
		return used, false
	}
	db, err := postgresCPU(m.postmaster)
	if err != nil {
		return used, false
	}
	return used + db - m.db, true
}

// perUnit adds cpu_ms_per_unit to figures.
func (m cpuMeter) perUnit(f figures, key string, units int) {
	used, ok := m.since()
	if units > 0 {
		f[key] = round(used.Seconds()*1000/float64(units), 4)
		f[key+"_includes_postgres"] = ok
	}
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type procStat struct {
	comm          string
	parent        int
	jiffies       uint64 // of the process
	childrenEnded uint64
}

func readStat(pid int) (procStat, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return procStat{}, err
	}
	s := string(text)
	open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if open < 0 || end < open {
		return procStat{}, fmt.Errorf("read /proc/%d/stat: malformed", pid)
	}
	f := strings.Fields(s[end+1:]) // f[0] is field 3
	if len(f) < 15 {
		return procStat{}, fmt.Errorf("read /proc/%d/stat: malformed", pid)
	}
	var n [5]uint64
	for i, at := range []int{1, 11, 12, 13, 14} {
		if n[i], err = strconv.ParseUint(f[at], 10, 64); err != nil {
			return procStat{}, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
		}
	}
	return procStat{comm: s[open+1 : end], parent: int(n[0]), jiffies: n[1] + n[2], childrenEnded: n[3] + n[4]}, nil
}

func postgresCPU(postmaster int) (time.Duration, error) {
	top, err := readStat(postmaster)
	if err != nil {
		return 0, err
	}
	total := top.jiffies + top.childrenEnded
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if st, err := readStat(pid); err == nil && st.parent == postmaster {
			total += st.jiffies
		}
	}
	return time.Duration(total) * 10 * time.Millisecond, nil // USER_HZ is 100 on every Linux that Go runs on
}

// round keeps figures readable.
func round(x float64, digits int) float64 {
	v, err := strconv.ParseFloat(strconv.FormatFloat(x, 'f', digits, 64), 64)
	if err != nil {
		return x
	}
	return v
}
