package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/lianke/lianke/internal/backup"
	"github.com/lianke/lianke/internal/config"
	"github.com/lianke/lianke/internal/embedded"
)

func backupCommand() command {
	return command{name: "backup", args: "FILE", about: "write database, master key and files into one file", run: makeBackup}
}

func makeBackup(ctx context.Context, c console, args []string) (err error) {
	fs := newFlags(c, backupCommand())
	flags := commonFlags(fs)
	words, err := parseMixed(fs, args)
	if err != nil {
		return err
	}
	if len(words) != 1 {
		fs.Usage()
		return errUsage
	}
	cfg, err := flags.existing()
	if err != nil {
		return err
	}
	// The database is written as it stands: a backup does not migrate.
	a := newApp(c, cfg)
	defer func() { err = errors.Join(err, a.Close()) }()
	if err := a.openStores(ctx, embedded.Options{}); err != nil {
		return err
	}
	key, err := cfg.LoadMasterKey()
	if err != nil {
		return err
	}
	from := backup.Place{DB: a.db, URL: a.databaseURL, MasterKey: key, Blobs: blobDir(cfg)}
	m, err := backup.Write(ctx, from, words[0], version(), a.clock.Now())
	if err != nil {
		return err
	}
	return reportBackup(c, flags.json, "written", words[0], m)
}

func restoreCommand() command {
	return command{name: "restore", args: "[--force] FILE", about: "make an installation of a backup", run: restore}
}

func restore(ctx context.Context, c console, args []string) (err error) {
	fs := newFlags(c, restoreCommand())
	flags := commonFlags(fs)
	force := fs.Bool("force", false, "replace what is there")
	words, err := parseMixed(fs, args)
	if err != nil {
		return err
	}
	if len(words) != 1 {
		fs.Usage()
		return errUsage
	}
	cfg, err := flags.existingOrNew(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o711); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	a := newApp(c, cfg)
	defer func() { err = errors.Join(err, a.Close()) }()
	if err := a.openStores(ctx, embedded.Options{Exclusive: true}); err != nil {
		return err
	}
	to := backup.Place{DB: a.db, URL: a.databaseURL, KeyFile: cfg.MasterKeyFile, Blobs: blobDir(cfg)}
	if cfg.MasterKey != "" {
		if to.MasterKey, err = cfg.LoadMasterKey(); err != nil {
			return err
		}
	}
	m, err := backup.Read(ctx, to, words[0], *force)
	if err != nil {
		return err
	}
	return reportBackup(c, flags.json, "restored", words[0], m)
}

// blobDir is the folder of files; a bucket has backups of its own.
func blobDir(cfg config.Config) string {
	if cfg.Blob.S3Endpoint != "" {
		return ""
	}
	return cfg.Blob.Dir
}

func reportBackup(c console, asJSON bool, done, file string, m backup.Manifest) error {
	if asJSON {
		return json.NewEncoder(c.out).Encode(map[string]any{"file": file, "manifest": m})
	}
	fmt.Fprintf(c.out, "%s %s: version %s, PostgreSQL %d, %d bytes of database, of %s\n",
		done, file, m.Version, m.Postgres, m.DumpBytes, m.CreatedAt.Format("2006-01-02 15:04:05 MST"))
	if !m.Blobs {
		fmt.Fprintln(c.out, "files live in a bucket and are not part of it")
	}
	return nil
}
