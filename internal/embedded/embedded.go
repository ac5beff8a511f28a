package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Options say where the stack lives and what of it is wanted.
type Options struct {
	Dir      string // the data directory; it is made if absent
	Log      *slog.Logger
	Postgres bool // run PostgreSQL
	Redis    bool // run redis-server, if the machine has it
	Test     bool // trade durability for speed; decided by whoever starts the servers
	Linger   bool // Close leaves the servers running for the next command

	// Exclusive refuses to share: while another process uses the stack Open fails, and so does theirs until Close.
	Exclusive bool
}

// Stack is a use of the servers under one data directory.
type Stack struct {
	DatabaseURL string // empty unless asked for
	RedisURL    string // empty unless asked for, or without redis-server

	opts    Options
	place   place
	users   lockFile
	closing sync.Once
	closed  error
}

const (
	gateTimeout = 5 * time.Minute // longer than any start or stop may take
	databaseDB  = "lianke"
	superuser   = "lianke"
)

// Open joins the servers under opts.Dir, starting those that do not run, and keeps them until Close. It waits for a
// database that recovers after a crash as long as ctx lets it.
func Open(ctx context.Context, opts Options) (*Stack, error) {
	p, err := prepare(opts.Dir)
	if err != nil {
		return nil, err
	}
	s := &Stack{opts: opts, place: p}
	err = s.gated(ctx, func(ctx context.Context) error {
		var err error
		if s.DatabaseURL, s.RedisURL, err = s.ensure(ctx); err != nil {
			return err
		}
		users, err := openLock(p.users)
		if err != nil {
			return fmt.Errorf("use stack: %w", err)
		}
		how := syscall.LOCK_SH
		if opts.Exclusive {
			how = syscall.LOCK_EX
		}
		// Not waited for: we hold the gate, which whoever is in the way needs in order to leave.
		if free, err := users.try(how); err != nil || !free {
			return errors.Join(errInUse.With("dir", p.dir), err, users.close())
		}
		s.users = users
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends the use. The last user stops the servers, unless asked to let them linger.
func (s *Stack) Close() error {
	s.closing.Do(func() {
		// The caller's context is usually over by now; the stop has bounds of its own.
		ctx, cancel := context.WithTimeout(context.Background(), gateTimeout)
		defer cancel()
		s.closed = s.gated(ctx, func(ctx context.Context) error {
			last, err := s.users.try(syscall.LOCK_EX)
			if err == nil && last && !s.opts.Linger {
				err = s.place.stop(ctx)
			}
			return errors.Join(err, s.users.close())
		})
	})
	return s.closed
}

// stop ends both servers. The gate is held and nobody else uses them.
func (p place) stop(ctx context.Context) error {
	if err := errors.Join(p.stopPostgres(ctx), p.stopRedis(ctx)); err != nil {
		return err
	}
	return p.removeRun()
}

// Watch brings back a server that somebody else ended, until ctx ends.
func (s *Stack) Watch(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if s.running() {
			continue
		}
		s.opts.Log.WarnContext(ctx, "the embedded stack is not complete; starting what is missing", "dir", s.place.dir)
		err := s.gated(ctx, func(ctx context.Context) error {
			_, _, err := s.ensure(ctx)
			return err
		})
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("bring back the embedded stack: %w", err)
		}
	}
}

func (s *Stack) running() bool {
	if s.opts.Postgres && s.place.postmaster() == 0 {
		return false
	}
	if s.RedisURL != "" {
		pids, err := s.place.redisPIDs()
		return err == nil && len(pids) > 0
	}
	return true
}

// ensure makes the wanted servers run and returns their addresses. The gate is held.
func (s *Stack) ensure(ctx context.Context) (database, redis string, err error) {
	if err := s.place.makeRun(); err != nil {
		return "", "", err
	}
	if s.opts.Postgres {
		if err := s.ensurePostgres(ctx); err != nil {
			return "", "", err
		}
		database = s.place.databaseURL(databaseDB)
	}
	if s.opts.Redis {
		if redis, err = s.ensureRedis(ctx); err != nil {
			return "", "", err
		}
	}
	return database, redis, nil
}

// gated runs fn while no other process looks, starts or stops.
func (s *Stack) gated(ctx context.Context, fn func(ctx context.Context) error) (err error) {
	gate, err := openLock(s.place.gate)
	if err != nil {
		return s.place.denied(err)
	}
	defer func() { err = errors.Join(err, gate.close()) }()
	wait, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	if err := gate.take(wait, syscall.LOCK_EX); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return errBusy.With("dir", s.place.dir).Because(err)
	}
	return fn(ctx)
}

// place is where everything of a stack lies.
type place struct {
	dir         string
	mark        string // names the stack's processes
	gate, users string
	making      string // held by an initdb that works here
	postgres    string // data directory of the cluster
	redis       string
	logs        string
	run         string // directory of the sockets' directories; under /tmp where dir is long
}

// maxSocket is what fits into sockaddr_un, with room for PostgreSQL's own suffixes.
const maxSocket = 90

func placeOf(dir string) (place, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return place{}, fmt.Errorf("data directory: %w", err)
	}
	// The same directory under two names is one stack. One that does not exist has no stack yet.
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	sum := sha256.Sum256([]byte(abs))
	hash := hex.EncodeToString(sum[:6])
	p := place{
		dir: abs, mark: "lianke-" + hash,
		gate: filepath.Join(abs, "gate.lock"), users: filepath.Join(abs, "users.lock"), making: filepath.Join(abs, "initdb.lock"),
		postgres: filepath.Join(abs, "postgres"), redis: filepath.Join(abs, "redis"),
		logs: filepath.Join(abs, "log"), run: filepath.Join(abs, "run"),
	}
	if len(p.postgresSocket()) > maxSocket {
		p.run = filepath.Join("/tmp", fmt.Sprintf("lianke-%d-%s", os.Geteuid(), hash))
	}
	return p, nil
}

func (p place) postgresSockets() string { return filepath.Join(p.run, "p") }
func (p place) postgresSocket() string  { return filepath.Join(p.postgresSockets(), ".s.PGSQL.5432") }
func (p place) redisSockets() string    { return filepath.Join(p.run, "r") }
func (p place) redisSocket() string     { return filepath.Join(p.redisSockets(), "redis.sock") }
func (p place) postgresLog() string     { return filepath.Join(p.logs, "postgres.log") }
func (p place) redisLog() string        { return filepath.Join(p.logs, "redis.log") }

// prepare makes the directories that are ours and says where everything lies. The servers' users pass through them and
// see nothing.
func prepare(dir string) (place, error) {
	_, err := os.Stat(dir)
	fresh := errors.Is(err, fs.ErrNotExist)
	err = os.MkdirAll(dir, 0o711)
	if err == nil && fresh && os.Geteuid() == 0 {
		err = os.Chmod(dir, 0o711) // whatever the umask says
	}
	if err != nil {
		return place{}, place{dir: dir}.denied(err)
	}
	p, err := placeOf(dir)
	if err != nil {
		return place{}, err
	}
	if err := os.MkdirAll(p.logs, 0o700); err != nil {
		return place{}, p.denied(err)
	}
	return p, nil
}

// makeRun makes the directory of the sockets. The gate is held.
func (p place) makeRun() error {
	err := os.Mkdir(p.run, 0o711)
	if err == nil {
		err = os.Chmod(p.run, 0o711) // whatever the umask says
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return p.denied(err)
	}
	// Under /tmp somebody else may have made it first, or laid a link.
	info, err := os.Lstat(p.run)
	if err != nil {
		return p.denied(err)
	}
	if !info.IsDir() || !ownedBy(p.run, uint32(os.Geteuid())) {
		return errDenied.With("dir", p.run)
	}
	return nil
}

// removeRun removes it again from /tmp, where nothing of a stopped stack should stay. The gate is held and nobody runs.
func (p place) removeRun() error {
	if filepath.Dir(p.run) == p.dir {
		return nil
	}
	return os.RemoveAll(p.run)
}

// denied turns a refusal of the file system into one that says what to do.
func (p place) denied(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return errDenied.With("dir", p.dir).Because(err)
	}
	return fmt.Errorf("data directory %s: %w", p.dir, err)
}
