package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lockFile is a file whose flock says something. The kernel drops the lock when the process ends, however it ends. The
// descriptor is close-on-exec, so servers do not inherit it; only initdb is given one, and holds it as long as it lives.
type lockFile struct{ f *os.File }

func openLock(path string) (lockFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return lockFile{}, err
	}
	return lockFile{f}, nil
}

// try takes the lock if that needs no waiting. how is syscall.LOCK_SH or LOCK_EX.
func (l lockFile) try(how int) (bool, error) {
	for {
		err := syscall.Flock(int(l.f.Fd()), how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		default:
			return false, fmt.Errorf("lock %s: %w", l.f.Name(), err)
		}
	}
}

// take waits for the lock until ctx ends.
func (l lockFile) take(ctx context.Context, how int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := l.try(how)
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

// close releases the lock, if held.
func (l lockFile) close() error { return l.f.Close() }
