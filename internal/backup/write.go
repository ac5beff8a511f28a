package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
)

// Place is an installation: what is written, or where it is read to.
type Place struct {
	DB        *pg.Pool
	URL       string // of the same database, for pg_dump and pg_restore
	MasterKey []byte // of the installation; for Read: the one that is set by variable and must match, else nil
	KeyFile   string // where Read puts the key
	Blobs     string // folder of files; "" when they live in a bucket, which has backups of its own
}

// Manifest says what a backup holds.
type Manifest struct {
	Format     int       `json:"format"`
	Version    string    `json:"version"`
	Schema     string    `json:"schema"`
	Postgres   int       `json:"postgres"`
	CreatedAt  time.Time `json:"created_at"`
	DumpSHA256 string    `json:"dump_sha256"`
	DumpBytes  int64     `json:"dump_bytes"`
	Blobs      bool      `json:"blobs"`
}

const format = 1

const (
	manifestName = "manifest.json"
	keyName      = "master.key"
	dumpName     = "database.dump"
	blobPrefix   = "blobs/"
)

var errExists = fault.New(fault.Conflict, "backup.exists", "文件 {file} 已存在", "{file} exists").
	WithHint("请换一个文件名,或先移走它", "choose another name or move it away")

// Write puts the installation into file, which must not exist.
func Write(ctx context.Context, from Place, file, version string, now time.Time) (m Manifest, err error) {
	if exists(file) {
		return Manifest{}, errExists.With("file", file)
	}
	var major int
	if err := from.DB.QueryRow(ctx, `SELECT current_setting('server_version_num')::integer / 10000`).Scan(&major); err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	part, err := os.OpenFile(file+".part", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	dump := file + ".dump.part"
	defer func() {
		_ = os.Remove(dump)
		err = errors.Join(err, part.Close())
		if err != nil {
			_ = os.Remove(part.Name())
		}
	}()
	// The dump holds what the database holds; the file must exist with its mode before anything is in it.
	if err := os.WriteFile(dump, nil, 0o600); err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	if err := tool(ctx, "pg_dump", major, from.URL, "--format=custom", "--compress=6", "--no-owner", "--no-privileges", "--file="+absolute(dump)); err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	m = Manifest{
		Format: format, Version: version, Schema: pg.MigrationHash(), Postgres: major, CreatedAt: now, Blobs: from.Blobs != "",
	}
	if m.DumpSHA256, m.DumpBytes, err = sum(dump); err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	if err := writeTar(ctx, part, from, m, dump); err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	if err := errors.Join(part.Sync(), os.Rename(part.Name(), file)); err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	return m, nil
}

func writeTar(ctx context.Context, out io.Writer, from Place, m Manifest, dump string) error {
	w := tar.NewWriter(out)
	manifest, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{manifestName, append(manifest, '\n')}, {keyName, []byte(hex.EncodeToString(from.MasterKey) + "\n")}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o600, Size: int64(len(f.data)), ModTime: m.CreatedAt}); err != nil {
			return err
		}
		if _, err := w.Write(f.data); err != nil {
			return err
		}
	}
	if err := addFile(w, dump, dumpName); err != nil {
		return err
	}
	if from.Blobs != "" {
		if err := addBlobs(ctx, w, from.Blobs); err != nil {
			return err
		}
	}
	return w.Close()
}

func addBlobs(ctx context.Context, w *tar.Writer, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !d.Type().IsRegular() || strings.HasPrefix(d.Name(), ".") {
			return nil // directories come with their files; hidden ones are being written
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return addFile(w, path, blobPrefix+filepath.ToSlash(rel))
	})
}

func addFile(w *tar.Writer, path, name string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

func sum(path string) (hash string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	if size, err = io.Copy(h, f); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
