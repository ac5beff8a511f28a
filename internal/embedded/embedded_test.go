package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/embedded"
	"github.com/lianke/lianke/internal/fault"
)

// envOwner makes the test binary a process that opens the stack in the named directory, says so, and holds it until its
// standard input ends; the tests kill it.
const envOwner = "LIANKE_TEST_EMBEDDED_OWNER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envOwner); dir != "" {
		os.Exit(own(dir))
	}
	os.Exit(m.Run())
}

func own(dir string) int {
	s, err := embedded.Open(context.Background(), options(dir))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := s.Close(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func options(dir string) embedded.Options {
	return embedded.Options{Dir: dir, Log: slog.New(slog.DiscardHandler), Postgres: true, Redis: true, Test: true}
}

// dataDir is a directory that the servers' users can reach, which t.TempDir is not when root runs the tests.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lianke-embedded-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o711))
	t.Cleanup(func() {
		require.NoError(t, embedded.Stop(context.Background(), dir))
		require.NoError(t, os.RemoveAll(dir))
	})
	return dir
}

func open(t *testing.T, dir string) *embedded.Stack {
	t.Helper()
	s, err := embedded.Open(t.Context(), options(dir))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	var v string
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&v))
	return v
}

func exec1(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

// startOwner runs another process that holds the stack.
func startOwner(t *testing.T, dir string) (kill func(), leave func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envOwner+"="+dir)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "open\n", line)
	kill = func() {
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	leave = func() {
		require.NoError(t, in.Close())
		require.NoError(t, cmd.Wait())
	}
	return kill, leave
}

func status(t *testing.T, dir string) embedded.Status {
	t.Helper()
	st, err := embedded.Inspect(dir)
	require.NoError(t, err)
	return st
}

func TestOneStackForSeveralCommandsAndTheLastOneOutStopsIt(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)

	// Given a command that holds the stack, a second one joins it.
	_, leave := startOwner(t, dir)
	first := status(t, dir)
	require.NotZero(t, first.PostgresPID)
	s, err := embedded.Open(t.Context(), options(dir))
	require.NoError(t, err)
	require.Equal(t, first, status(t, dir))
	require.Equal(t, "lianke", query(t, s.DatabaseURL, "SELECT current_database()"))
	require.Equal(t, "UTF8", query(t, s.DatabaseURL, "SHOW server_encoding"))
	require.Equal(t, "C.UTF-8", query(t, s.DatabaseURL, "SELECT datcollate FROM pg_database WHERE datname = 'lianke'"))
	require.NotEqual(t, "0", uidOf(t, first.PostgresPID), "PostgreSQL does not run as root")

	// When the first leaves, the stack stays for the second; when that leaves too, it stops.
	leave()
	require.Equal(t, first, status(t, dir))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "closing twice is closing once")
	require.Zero(t, status(t, dir).PostgresPID)
	require.Zero(t, status(t, dir).RedisPID)
}

func uidOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	require.NoError(t, err)
	_, after, ok := strings.Cut(string(text), "\nUid:\t")
	require.True(t, ok)
	return strings.Fields(after)[0]
}

func TestAKilledOwnerLeavesAStackThatTheNextCommandAdopts(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	kill, _ := startOwner(t, dir)
	before := status(t, dir)
	kill()

	s := open(t, dir)
	require.Equal(t, before, status(t, dir), "the orphans are joined, not restarted")
	require.NoError(t, s.Close())
	require.Zero(t, status(t, dir).PostgresPID, "and stopped by the last one out")
}

func TestEverythingKilledAtOnceRecovers(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	kill, _ := startOwner(t, dir)
	st := status(t, dir)
	s := open(t, dir)
	exec1(t, s.DatabaseURL, "CREATE TABLE kept AS SELECT 'here'::text AS v")
	exec1(t, s.DatabaseURL, "CHECKPOINT") // fsync is off in tests; the crash is of processes, not of the machine

	kill()
	require.NoError(t, syscall.Kill(st.PostgresPID, syscall.SIGKILL))
	require.NoError(t, syscall.Kill(st.RedisPID, syscall.SIGKILL))

	again := open(t, dir)
	after := status(t, dir)
	require.NotEqual(t, st.PostgresPID, after.PostgresPID)
	require.NotZero(t, after.RedisPID)
	require.Equal(t, "here", query(t, again.DatabaseURL, "SELECT v FROM kept"))
}

func TestKilledAtAnyMomentItRecovers(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	// Given commands that are killed while they make the cluster, start it, open it, hold it. The moments are spread over
	// a start, which takes about a second on a fast machine.
	for i := range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envOwner+"="+dir)
		in, err := cmd.StdinPipe() // held open, so that the owner stays
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		<-time.After(time.Duration(i*i) * 9 * time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		_ = in.Close()
	}
	// Then the next command works, and the last one out leaves nothing behind.
	s := open(t, dir)
	require.Equal(t, "lianke", query(t, s.DatabaseURL, "SELECT current_database()"))
	require.NoError(t, s.Close())
	require.Zero(t, status(t, dir).PostgresPID)
	require.Zero(t, status(t, dir).RedisPID)
	left, err := filepath.Glob(filepath.Join(dir, "postgres.init.*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestWatchBringsAServerBack(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := open(t, dir)
	before := status(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Watch(ctx) }()
	require.NoError(t, syscall.Kill(before.PostgresPID, syscall.SIGKILL))
	require.NoError(t, syscall.Kill(before.RedisPID, syscall.SIGKILL))
	require.Eventually(t, func() bool {
		st, err := embedded.Inspect(dir)
		return err == nil && st.PostgresPID != 0 && st.PostgresPID != before.PostgresPID && st.RedisPID != 0 && st.RedisPID != before.RedisPID
	}, time.Minute, 50*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
}

func TestAPidFileOfAnotherProgramIsStale(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	require.NoError(t, open(t, dir).Close())

	// Given a postmaster.pid that a crash left behind, and its pid taken by another program (this test).
	pidFile := filepath.Join(dir, "postgres", "postmaster.pid")
	text := fmt.Sprintf("%d\n%s\n1700000000\n5432\n/nowhere\n\n  1234567   8901234\nready\n", os.Getpid(), filepath.Join(dir, "postgres"))
	require.NoError(t, os.WriteFile(pidFile, []byte(text), 0o600))
	require.Zero(t, status(t, dir).PostgresPID)

	s := open(t, dir)
	require.Equal(t, "1", query(t, s.DatabaseURL, "SELECT '1'"))
}

func TestADirectoryMovedUnderARunningDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	top := dataDir(t)
	before, after := filepath.Join(top, "before"), filepath.Join(top, "after")
	kill, _ := startOwner(t, before)
	kill()
	require.NoError(t, os.Rename(before, after))
	_, err := embedded.Open(t.Context(), options(after))
	require.Equal(t, "embedded.moved", fault.From(err).Code)
	require.FileExists(t, filepath.Join(after, "postgres", "postmaster.pid"), "what protects the cluster stays")
	require.NoError(t, os.Rename(after, before))
	require.NoError(t, embedded.Stop(t.Context(), before))
}

func TestALeftoverOfInitdbIsRemoved(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	half := filepath.Join(dir, "postgres.init.KILLED")
	require.NoError(t, os.MkdirAll(half, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(half, "PG_VERSION"), []byte("15\n"), 0o600))
	open(t, dir)
	require.NoDirExists(t, half)
}

func TestAnotherMajorVersionIsRefusedWithTheSteps(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "postgres"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "postgres", "PG_VERSION"), []byte("9\n"), 0o600))
	_, err := embedded.Open(t.Context(), options(dir))
	f := fault.From(err)
	require.Equal(t, "embedded.version", f.Code)
	require.Contains(t, f.Hint.EN, "postgresql-9")
	require.Contains(t, f.Hint.EN, "lianke backup")
	require.Contains(t, f.Hint.ZH, "postgresql-9")
}

func TestADirectoryOfSomethingElseIsNotTouched(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	photo := filepath.Join(dir, "postgres", "photo.jpg")
	require.NoError(t, os.Mkdir(filepath.Dir(photo), 0o700))
	require.NoError(t, os.WriteFile(photo, []byte("x"), 0o600))
	_, err := embedded.Open(t.Context(), options(dir))
	require.Equal(t, "embedded.foreign", fault.From(err).Code)
	require.FileExists(t, photo)
}

func TestALongPathGetsShortSockets(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(dataDir(t), strings.Repeat("long", 30))
	s := open(t, dir)
	require.Equal(t, "1", query(t, s.DatabaseURL, "SELECT '1'"))
	u, err := url.Parse(s.DatabaseURL)
	require.NoError(t, err)
	sockets := u.Query().Get("host")
	require.DirExists(t, sockets)
	require.NoError(t, s.Close())
	require.NoDirExists(t, filepath.Dir(sockets), "nothing stays under /tmp")
}

func TestALingeringStackIsStoppedByTheNextLastUser(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	o := options(dir)
	o.Linger = true
	s, err := embedded.Open(t.Context(), o)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NotZero(t, status(t, dir).PostgresPID)
	require.NoError(t, open(t, dir).Close())
	require.Zero(t, status(t, dir).PostgresPID)
}

func TestStopRefusesWhileSomebodyUsesTheStack(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := open(t, dir)
	require.Equal(t, "embedded.in_use", fault.From(embedded.Stop(t.Context(), dir)).Code)
	require.NoError(t, s.Close())
	require.NoError(t, embedded.Stop(t.Context(), dir))
}

func TestAnExclusiveUserIsAlone(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	alone := options(dir)
	alone.Exclusive = true

	s := open(t, dir)
	_, err := embedded.Open(t.Context(), alone)
	require.Equal(t, "embedded.in_use", fault.From(err).Code)
	require.NotZero(t, status(t, dir).PostgresPID, "the refusal disturbs nobody")
	require.NoError(t, s.Close())

	s, err = embedded.Open(t.Context(), alone)
	require.NoError(t, err)
	_, err = embedded.Open(t.Context(), options(dir))
	require.Equal(t, "embedded.in_use", fault.From(err).Code)
	require.NoError(t, s.Close())
	require.Zero(t, status(t, dir).PostgresPID)
}

func TestBinariesAreChosenByTheCluster(t *testing.T) {
	t.Parallel()
	have := []embedded.Binaries{{Dir: "/17", Major: 17}, {Dir: "/15", Major: 15}}
	dir := t.TempDir()
	b, err := embedded.PostgresFor(dir, have)
	require.NoError(t, err)
	require.Equal(t, 17, b.Major, "a new cluster takes the newest")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "PG_VERSION"), []byte("15\n"), 0o600))
	b, err = embedded.PostgresFor(dir, have)
	require.NoError(t, err)
	require.Equal(t, 15, b.Major, "an old one its own")
	_, err = embedded.PostgresFor(dir, nil)
	require.Contains(t, fault.From(err).Hint.EN, "apt-get install postgresql")
	_, err = embedded.PostgresFor(t.TempDir(), []embedded.Binaries{{Dir: "/13", Major: 13}})
	require.Equal(t, "embedded.old_postgres", fault.From(err).Code)
}
