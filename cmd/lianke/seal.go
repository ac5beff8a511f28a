package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
)

var errOtherKey = fault.New(fault.Precondition, "installation.other_key", "此数据库的个人数据由另一把主密钥加密,{from} 打不开它",
	"the personal data of this database is sealed with another master key than {from}").
	WithHint("请使用原安装目录(--data-dir)或原主密钥(LIANKE_MASTER_KEY、LIANKE_MASTER_KEY_FILE);密钥也在备份中",
		"use the installation's own --data-dir, or its master key (LIANKE_MASTER_KEY, LIANKE_MASTER_KEY_FILE); the key is in every backup, too")

const sealSQL = `
WITH first AS (
    INSERT INTO core.seal (token, made_at)
    VALUES (@token, @now)
    ON CONFLICT (one) DO NOTHING
)
SELECT coalesce((SELECT token FROM core.seal), @token)`

// openRing returns the keys of personal data. The first start seals the database with the master key; later starts refuse
// any other key before it writes something that the right one cannot read. A key file that this start made is taken back.
func (a *app) openRing(ctx context.Context) (*crypt.Ring, error) {
	_, err := os.Stat(a.cfg.MasterKeyFile)
	made := a.cfg.MasterKey == "" && errors.Is(err, fs.ErrNotExist)
	key, err := a.cfg.LoadMasterKey()
	if err != nil {
		return nil, err
	}
	ring, err := crypt.New(key)
	if err != nil {
		return nil, err
	}
	token := ring.Token("seal", "lianke")
	var sealed []byte
	if err := a.db.QueryRow(ctx, sealSQL, pg.Args{"token": token[:], "now": a.clock.Now()}).Scan(&sealed); err != nil {
		return nil, fmt.Errorf("compare the master key with the database: %w", err)
	}
	if bytes.Equal(sealed, token[:]) {
		return ring, nil
	}
	from := a.cfg.MasterKeyFile
	if a.cfg.MasterKey != "" {
		from = "LIANKE_MASTER_KEY"
	}
	err = errOtherKey.With("from", from)
	if made {
		err = errors.Join(err, os.Remove(a.cfg.MasterKeyFile))
	}
	return nil, err
}
