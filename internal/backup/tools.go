package backup

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/embedded"
	"github.com/lianke/lianke/internal/fault"
)

var errTools = fault.New(fault.Unavailable, "backup.tools", "需要 PostgreSQL {major} 或更新版本的 {tool}", "{tool} of PostgreSQL {major} or newer is needed").
	WithHint("请执行 apt-get install postgresql-client-{major}", "apt-get install postgresql-client-{major}")

// tool runs pg_dump or pg_restore, of a version not older than major, on the database at dbURL.
func tool(ctx context.Context, name string, major int, dbURL string, args ...string) error {
	path := ""
	for _, b := range embedded.FindPostgres() { // newest first
		if candidate := filepath.Join(b.Dir, name); b.Major >= major && exists(candidate) {
			path = candidate
			break
		}
	}
	if path == "" { // clients without a server
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		for _, candidate := range found {
			if n, err := strconv.Atoi(strings.Split(candidate, "/")[4]); err == nil && n >= major {
				path = candidate
			}
		}
	}
	if path == "" {
		return errTools.With("tool", name, "major", major)
	}
	env, err := libpqEnv(dbURL)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	var stderr bytes.Buffer
	cmd.Env, cmd.Stderr, cmd.Dir = env, &stderr, "/"
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// libpqEnv passes the connection in the environment: arguments can be read by every user of the machine.
func libpqEnv(dbURL string) ([]string, error) {
	cfg, err := pgx.ParseConfig(dbURL)
	if err != nil {
		return nil, fmt.Errorf("database url: %w", err)
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "HOME=" + os.Getenv("HOME"),
		"PGHOST=" + cfg.Host, "PGPORT=" + strconv.Itoa(int(cfg.Port)), "PGUSER=" + cfg.User,
		"PGPASSWORD=" + cfg.Password, "PGDATABASE=" + cfg.Database, "PGCONNECT_TIMEOUT=15",
	}
	if u, err := url.Parse(dbURL); err == nil {
		for param, name := range map[string]string{"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY"} {
			if v := u.Query().Get(param); v != "" {
				env = append(env, name+"="+v)
			}
		}
	}
	return env, nil
}
