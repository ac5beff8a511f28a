package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Status is what a look at a data directory shows. A pid is 0 where nothing runs.
type Status struct {
	PostgresVersion string // of the cluster; empty where there is none
	PostgresPID     int
	RedisPID        int
}

// Inspect looks without changing or starting anything.
func Inspect(dir string) (Status, error) {
	p, err := placeOf(dir)
	if err != nil {
		return Status{}, err
	}
	var st Status
	version, err := os.ReadFile(filepath.Join(p.postgres, "PG_VERSION"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Status{}, p.denied(err)
	}
	st.PostgresVersion = strings.TrimSpace(string(version))
	st.PostgresPID = p.postmaster()
	pids, err := p.redisPIDs()
	if err != nil {
		return Status{}, err
	}
	if len(pids) > 0 {
		st.RedisPID = pids[0]
	}
	return st, nil
}

// Stop ends servers that nobody uses (orphans of a killed command, a lingering stack). While somebody does, it changes
// nothing and says so.
func Stop(ctx context.Context, dir string) error {
	p, err := placeOf(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(p.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s := Stack{place: p}
	return s.gated(ctx, func(ctx context.Context) (err error) {
		users, err := openLock(p.users)
		if err != nil {
			return fmt.Errorf("stop stack: %w", err)
		}
		defer func() { err = errors.Join(err, users.close()) }()
		if alone, err := users.try(syscall.LOCK_EX); err != nil || !alone {
			return errors.Join(errInUse.With("dir", p.dir), err)
		}
		return p.stop(ctx)
	})
}
