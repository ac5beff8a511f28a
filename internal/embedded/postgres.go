package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// MinPostgres is the oldest major version the schema runs on.
const MinPostgres = 15

// Binaries is one installed PostgreSQL.
type Binaries struct {
	Dir   string
	Major int
}

// FindPostgres returns the installed servers, newest first: Debian's under /usr/lib/postgresql, and the one on PATH.
func FindPostgres() []Binaries {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		dirs = append(dirs, filepath.Dir(path))
	}
	var found []Binaries
	for _, dir := range dirs {
		if slices.ContainsFunc(found, func(b Binaries) bool { return b.Dir == dir }) {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
			continue
		}
		if major, ok := majorOf(filepath.Join(dir, "postgres")); ok {
			found = append(found, Binaries{dir, major})
		}
	}
	slices.SortStableFunc(found, func(a, b Binaries) int { return b.Major - a.Major })
	return found
}

// majorOf asks a binary: "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)".
func majorOf(binary string) (int, bool) {
	out, err := exec.Command(binary, "--version").Output()
	if err != nil {
		return 0, false
	}
	_, after, ok := strings.Cut(string(out), "(PostgreSQL) ")
	if !ok {
		return 0, false
	}
	digits := strings.IndexFunc(after, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(after)
	}
	major, err := strconv.Atoi(after[:digits])
	return major, err == nil
}

// PostgresFor returns the newest binaries that may open the cluster in dataDir, or make it where there is none.
func PostgresFor(dataDir string, found []Binaries) (Binaries, error) {
	if len(found) == 0 {
		return Binaries{}, errNoPostgres
	}
	text, err := os.ReadFile(filepath.Join(dataDir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		if found[0].Major < MinPostgres {
			return Binaries{}, errOldPostgres.With("found", found[0].Major, "need", MinPostgres)
		}
		return found[0], nil
	}
	if err != nil {
		return Binaries{}, fmt.Errorf("read version of cluster: %w", err)
	}
	made := strings.TrimSpace(string(text))
	have := make([]string, 0, len(found))
	for _, b := range found {
		if strconv.Itoa(b.Major) == made {
			return b, nil
		}
		have = append(have, strconv.Itoa(b.Major))
	}
	return Binaries{}, errVersion.With("data", made, "have", strings.Join(have, ", "), "dir", filepath.Dir(dataDir))
}

func (p place) databaseURL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(superuser), Path: "/" + database}
	u.RawQuery = url.Values{"host": {p.postgresSockets()}, "port": {"5432"}}.Encode()
	return u.String()
}

// ensurePostgres leaves a PostgreSQL of this stack that answers, with its database. The gate is held.
func (s *Stack) ensurePostgres(ctx context.Context) error {
	p := s.place
	for {
		if err := p.settle(ctx); err != nil {
			return err
		}
		var ended <-chan struct{} // stays nil when we join
		if p.postmaster() == 0 {
			var err error
			if ended, err = s.startPostgres(ctx); err != nil {
				return err
			}
		}
		err := p.awaitPostgres(ctx, ended)
		if errors.Is(err, errEnded) && ended == nil {
			continue // it was dying or stopping when we joined
		}
		if err != nil {
			return err
		}
		return p.ensureDatabase(ctx)
	}
}

// errEnded says that a server was gone before it answered.
var errEnded = errors.New("the server ended")

func (s *Stack) startPostgres(ctx context.Context) (<-chan struct{}, error) {
	p := s.place
	bin, err := PostgresFor(p.postgres, FindPostgres())
	if err != nil {
		return nil, err
	}
	as, err := dropTo("postgres", "nobody")
	if err != nil {
		return nil, err
	}
	if err := canEnter(p.dir, as); err != nil {
		return nil, err
	}
	if err := s.initdb(ctx, bin, as); err != nil {
		return nil, err
	}
	if err := p.clearStale(); err != nil {
		return nil, err
	}
	if err := errors.Join(own(p.postgres, as), own(p.postgresSockets(), as)); err != nil {
		return nil, p.denied(err)
	}
	if err := writeAs(filepath.Join(p.postgres, settingsFile), settings(s.opts.Test), as); err != nil {
		return nil, fmt.Errorf("write settings: %w", err)
	}
	cmd := exec.Command(filepath.Join(bin.Dir, "postgres"), "-D", p.postgres,
		"-c", "cluster_name="+p.mark, "-c", "listen_addresses=", "-c", "port=5432",
		"-c", "unix_socket_directories="+p.postgresSockets(), "-c", "unix_socket_permissions=0700")
	cmd.Dir = "/"
	s.opts.Log.InfoContext(ctx, "starting embedded PostgreSQL", "version", bin.Major, "dir", p.postgres)
	ended, err := spawn(cmd, as, p.postgresLog())
	if err != nil {
		return nil, errStart.With("server", "PostgreSQL", "log", p.postgresLog()).Because(err)
	}
	return ended, nil
}

// initdb makes the cluster unless it is there. It works under a name of its own and renames the result: a cluster is
// whole or absent, whenever we are killed.
func (s *Stack) initdb(ctx context.Context, bin Binaries, as *credential) error {
	p := s.place
	entries, err := os.ReadDir(p.postgres)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p.denied(err)
	}
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "PG_VERSION" }) {
		return nil
	}
	if len(entries) > 0 {
		return errForeign.With("dir", p.postgres)
	}
	// initdb inherits this lock: it is free when no initdb of this directory lives, not even an orphaned one that would
	// go on writing into what is removed below.
	alive, err := openLock(p.making)
	if err != nil {
		return p.denied(err)
	}
	defer alive.close()
	if err := alive.take(ctx, syscall.LOCK_EX); err != nil {
		return fmt.Errorf("wait for an earlier initdb: %w", err)
	}
	leftovers, _ := filepath.Glob(p.postgres + ".init.*")
	for _, dir := range leftovers {
		if err := os.RemoveAll(dir); err != nil {
			return p.denied(err)
		}
	}
	tmp := p.postgres + ".init." + rand.Text()[:8]
	if err := own(tmp, as); err != nil {
		return p.denied(err)
	}
	defer os.RemoveAll(tmp)
	s.opts.Log.InfoContext(ctx, "making a PostgreSQL cluster", "version", bin.Major, "dir", p.postgres)
	args := []string{
		"-D", tmp, "-U", superuser, "--encoding=UTF8", "--locale=C.UTF-8",
		"--auth=trust", "--no-instructions", "--data-checksums",
	}
	if s.opts.Test {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin.Dir, "initdb"), args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", childEnv(), as.attr()
	cmd.ExtraFiles = []*os.File{alive.f}
	if out, err := cmd.CombinedOutput(); err != nil {
		_ = os.WriteFile(p.postgresLog(), out, 0o600)
		return errStart.With("server", "initdb", "log", p.postgresLog()).Because(fmt.Errorf("%w\n%s", err, out))
	}
	conf := "# Lianke's settings, written at each start; what follows overrules them.\ninclude = '" + settingsFile + "'\n"
	if err := writeAs(filepath.Join(tmp, "postgresql.conf"), conf, as); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	if err := writeAs(filepath.Join(tmp, settingsFile), settings(s.opts.Test), as); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	// An empty directory at the target is replaced by the rename.
	if err := os.Rename(tmp, p.postgres); err != nil {
		return fmt.Errorf("put cluster in place: %w", err)
	}
	return nil
}

// postmaster returns the pid of this stack's running postmaster, or 0.
func (p place) postmaster() int {
	pid := p.postmasterFile()
	if pid > 0 && isProc(pid, "postgres", p.mark) {
		return pid
	}
	return 0
}

// postmasterFile reads the pid in postmaster.pid, 0 where there is none.
func (p place) postmasterFile() int {
	text, err := os.ReadFile(filepath.Join(p.postgres, "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, _ := strconv.Atoi(strings.TrimSpace(line))
	return pid
}

// settle waits for the two states in which processes live without a postmaster: one is being born and has not written
// its pid file yet, or it was killed and its backends have not noticed. Starting another one beside backends that live
// would corrupt the cluster, so those that do not end by themselves are ended.
func (p place) settle(ctx context.Context) error {
	find := func() ([]int, error) { return procs("postgres", p.mark) }
	wait, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err := poll(wait, 20*time.Millisecond, func() (bool, error) {
		if p.postmaster() != 0 {
			return true, nil
		}
		left, err := find()
		return len(left) == 0, err
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		// Orphaned backends hold nothing that the crash of their postmaster has not lost.
		err = stop(ctx, find, []stopStep{{syscall.SIGQUIT, 5 * time.Second}, {syscall.SIGKILL, 5 * time.Second}})
	}
	if err != nil {
		return fmt.Errorf("wait for processes of a killed PostgreSQL: %w", err)
	}
	return nil
}

// clearStale removes the lock files of a killed postmaster whose pid is another program's by now, or a zombie's:
// PostgreSQL would take that for a postmaster. A file whose pid is free it replaces itself. No process of the stack's
// PostgreSQL lives, unless the directory was moved under a running one: that is refused.
func (p place) clearStale() error {
	pid := p.postmasterFile()
	if pid <= 0 || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return nil
	}
	if isProc(pid, "postgres", "") && !worksElsewhere(pid, p.postgres) {
		return errMoved.With("dir", p.dir, "pid", pid)
	}
	for _, file := range []string{p.postgresSocket() + ".lock", filepath.Join(p.postgres, "postmaster.pid")} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove stale lock file: %w", err)
		}
	}
	return nil
}

// worksElsewhere says for certain that a postmaster serves another directory than dir. Its working directory is the one
// it serves, whatever that is called by now.
func worksElsewhere(pid int, dir string) bool {
	cwd, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
	if err != nil {
		return false
	}
	ours, err := os.Stat(dir)
	return err == nil && !os.SameFile(cwd, ours)
}

// awaitPostgres waits until the server answers, recovery after a crash included. ended is closed when the one we started
// ends; nil where we joined.
func (p place) awaitPostgres(ctx context.Context, ended <-chan struct{}) error {
	err := poll(ctx, 25*time.Millisecond, func() (bool, error) {
		if conn, err := p.connect(ctx); err == nil {
			return true, conn.Close(ctx)
		}
		select {
		case <-ended:
			return false, fmt.Errorf("%w:\n%s", errEnded, tail(p.postgresLog(), 8))
		default:
		}
		if ended == nil && p.postmaster() == 0 {
			return false, errEnded
		}
		return false, nil
	})
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("wait for embedded PostgreSQL: %w", ctx.Err())
		}
		return errStart.With("server", "PostgreSQL", "log", p.postgresLog()).Because(err)
	}
	return nil
}

func (p place) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return pgx.Connect(ctx, p.databaseURL("postgres"))
}

func (p place) ensureDatabase(ctx context.Context) error {
	conn, err := p.connect(ctx)
	if err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var exists bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, databaseDB).Scan(&exists); err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, `CREATE DATABASE `+databaseDB); err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	return nil
}

// stopPostgres ends the server in good order: fast, and at once if a minute was not enough.
func (p place) stopPostgres(ctx context.Context) error {
	err := stop(ctx, func() ([]int, error) {
		if pid := p.postmaster(); pid != 0 {
			return []int{pid}, nil
		}
		return nil, nil
	}, []stopStep{{syscall.SIGINT, time.Minute}, {syscall.SIGQUIT, 20 * time.Second}})
	if err != nil {
		return fmt.Errorf("stop embedded PostgreSQL: %w", err)
	}
	return nil
}

// writeAs replaces a file of the server's user.
func writeAs(path, text string, as *credential) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	if as == nil {
		return nil
	}
	return os.Lchown(path, int(as.uid), int(as.gid))
}
