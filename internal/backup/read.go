package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
)

var (
	errNotBackup = fault.New(fault.Invalid, "backup.unreadable", "{file} 不是完整的 Lianke 备份", "{file} is not a complete Lianke backup").
			WithHint("请检查文件是否完整传输", "check that the file was copied whole")
	errNotEmpty = fault.New(fault.Precondition, "backup.not_empty", "目标不为空:{what}", "the target is not empty: {what}").
			WithHint("请使用空的 --data-dir,或加 --force 覆盖其中的全部数据", "use an empty --data-dir, or --force to replace everything there")
	errOtherKey = fault.New(fault.Conflict, "backup.other_key", "LIANKE_MASTER_KEY 与备份中的主密钥不同", "LIANKE_MASTER_KEY differs from the master key in the backup").
			WithHint("请去掉该变量或换成备份的密钥", "unset it, or set the key of the backup")
)

// Read makes an installation of file at a place that is empty, or with force at any: what is there is then replaced.
func Read(ctx context.Context, to Place, file string, force bool) (Manifest, error) {
	work, err := os.MkdirTemp(filepath.Dir(to.KeyFile), ".restore-")
	if err != nil {
		return Manifest{}, fmt.Errorf("restore: %w", err)
	}
	defer os.RemoveAll(work)
	m, key, err := unpack(file, work)
	if err != nil {
		return Manifest{}, err
	}
	if to.MasterKey != nil && !bytes.Equal(to.MasterKey, key) {
		return Manifest{}, errOtherKey
	}
	if !force {
		if err := checkEmpty(ctx, to); err != nil {
			return Manifest{}, err
		}
	}
	if to.MasterKey == nil {
		if err := placeKey(to.KeyFile, key); err != nil {
			return Manifest{}, fmt.Errorf("restore: %w", err)
		}
	}
	if err := clearDatabase(ctx, to.DB); err != nil {
		return Manifest{}, err
	}
	if err := tool(ctx, "pg_restore", m.Postgres, to.URL, "--dbname="+to.DB.Config().ConnConfig.Database,
		"--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", filepath.Join(absolute(work), dumpName)); err != nil {
		return Manifest{}, fmt.Errorf("restore: %w", err)
	}
	if m.Blobs && to.Blobs != "" {
		if err := placeBlobs(filepath.Join(work, "blobs"), to.Blobs); err != nil {
			return Manifest{}, fmt.Errorf("restore: %w", err)
		}
	}
	return m, nil
}

// unpack checks the file and lays its parts into dir.
func unpack(file, dir string) (m Manifest, key []byte, err error) {
	bad := func(cause error) (Manifest, []byte, error) {
		return Manifest{}, nil, errNotBackup.With("file", file).Because(cause)
	}
	f, err := os.Open(file)
	if err != nil {
		return Manifest{}, nil, fmt.Errorf("restore: %w", err)
	}
	defer f.Close()
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return bad(err)
		}
		switch {
		case h.Name == manifestName:
			if err := json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(&m); err != nil {
				return bad(err)
			}
			if m.Format != format {
				return bad(fmt.Errorf("format %d is not known to this version", m.Format))
			}
		case h.Name == keyName:
			text, err := io.ReadAll(io.LimitReader(r, 1<<10))
			if err == nil {
				key, err = hex.DecodeString(strings.TrimSpace(string(text)))
			}
			if err != nil {
				return bad(err)
			}
		case h.Name == dumpName, strings.HasPrefix(h.Name, blobPrefix) && filepath.IsLocal(h.Name):
			if err := lay(filepath.Join(dir, filepath.FromSlash(h.Name)), r); err != nil {
				return bad(err)
			}
		default:
			return bad(fmt.Errorf("unexpected entry %q", h.Name))
		}
	}
	hash, size, err := sum(filepath.Join(dir, dumpName))
	if err != nil {
		return bad(err)
	}
	if m.Format == 0 || len(key) == 0 || hash != m.DumpSHA256 || size != m.DumpBytes {
		return bad(errors.New("a part is missing or damaged"))
	}
	return m, key, nil
}

func lay(path string, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

const tablesSQL = `
SELECT count(*)
FROM pg_tables
WHERE schemaname = ANY (@schemas::text[]) OR schemaname = 'public'`

func checkEmpty(ctx context.Context, to Place) error {
	var tables int
	if err := to.DB.QueryRow(ctx, tablesSQL, pg.Args{"schemas": pg.Schemas}).Scan(&tables); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if tables > 0 {
		return errNotEmpty.With("what", fmt.Sprintf("%d tables", tables))
	}
	if to.MasterKey == nil && exists(to.KeyFile) {
		return errNotEmpty.With("what", to.KeyFile)
	}
	if files, err := os.ReadDir(to.Blobs); err == nil && len(files) > 0 {
		return errNotEmpty.With("what", to.Blobs)
	}
	return nil
}

func clearDatabase(ctx context.Context, db *pg.Pool) error {
	return pg.InTx(ctx, db, func(tx pgx.Tx) error {
		for _, schema := range append([]string{"public"}, pg.Schemas...) {
			if _, err := tx.Exec(ctx, `DROP SCHEMA IF EXISTS `+pgx.Identifier{schema}.Sanitize()+` CASCADE`); err != nil {
				return fmt.Errorf("clear schema %s: %w", schema, err)
			}
		}
		// The dump takes this one for granted.
		if _, err := tx.Exec(ctx, `CREATE SCHEMA public`); err != nil {
			return fmt.Errorf("make schema public: %w", err)
		}
		return nil
	})
}

// placeKey puts the key where the installation looks for it. A different one that is there is kept beside it: without
// it whatever it encrypted could never be read again.
func placeKey(file string, key []byte) error {
	text := hex.EncodeToString(key) + "\n"
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && string(old) != text {
		kept := file + ".before-restore"
		for n := 2; exists(kept); n++ {
			kept = fmt.Sprintf("%s.before-restore-%d", file, n)
		}
		if err := os.Rename(file, kept); err != nil {
			return err
		}
	}
	tmp := file + ".part"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

func placeBlobs(from, to string) error {
	if !exists(from) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o711); err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.Rename(from, to); err == nil {
		return nil
	}
	// On another file system.
	return os.CopyFS(to, os.DirFS(from))
}
