package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lianke/lianke/internal/config"
	"github.com/lianke/lianke/internal/fault"
)

// errNoInstallation keeps a mistyped directory from becoming a second, empty installation that answers every question
// with nothing.
var errNoInstallation = fault.New(fault.NotFound, "installation.none", "目录 {dir} 中没有 Lianke 安装", "there is no installation in {dir}").
	WithHint("请检查目录名;如要在此新建,请先运行 lianke serve、migrate、import、restore 或 demo",
		"check the name; to make one there, begin with lianke serve, migrate, import, restore or demo")

// existing is the configuration for commands that work on an installation: its data directory must hold one.
func (c *common) existing() (config.Config, error) {
	cfg, err := c.config()
	if err != nil {
		return config.Config{}, err
	}
	found, err := installed(cfg)
	if err != nil {
		return config.Config{}, err
	}
	if !found {
		return config.Config{}, errNoInstallation.With("dir", cfg.DataDir).WithFields(c.dataDirField())
	}
	return cfg, nil
}

// existingOrNew is the configuration for commands that may begin an installation. They say so, because a mistyped
// directory looks the same to them.
func (c *common) existingOrNew(to console) (config.Config, error) {
	cfg, err := c.config()
	if err != nil {
		return config.Config{}, err
	}
	return cfg, announceNew(cfg, to)
}

func announceNew(cfg config.Config, to console) error {
	found, err := installed(cfg)
	if err == nil && !found {
		fmt.Fprintf(to.err, "在 %s 新建安装 making a new installation in %s\n", cfg.DataDir, cfg.DataDir)
	}
	return err
}

// installed says whether the directory holds an installation: the private database, or, with a server of the
// installation's own, the master key that was made for it. With both of its own nothing is looked for here.
func installed(cfg config.Config) (bool, error) {
	sign := filepath.Join(cfg.DataDir, "postgres", "PG_VERSION")
	switch {
	case cfg.DatabaseURL == "":
	case cfg.MasterKey != "":
		return true, nil
	default:
		sign = cfg.MasterKeyFile
	}
	_, err := os.Stat(sign)
	switch {
	case err == nil, errors.Is(err, fs.ErrPermission):
		return true, nil // who may not look is told so when it is opened
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	}
	return false, fmt.Errorf("look at the data directory: %w", err)
}

// dataDirField names where the directory came from.
func (c *common) dataDirField() fault.Field {
	from := fault.Field{Path: "--data-dir", Code: "installation.none"}
	switch {
	case c.dataDir != "":
		from.Text = fault.Text{ZH: "该目录由此参数指定", EN: "names this directory"}
	case os.Getenv(config.Prefix+"DATA_DIR") != "":
		from.Path = config.Prefix + "DATA_DIR"
		from.Text = fault.Text{ZH: "该目录由此环境变量指定", EN: "names this directory"}
	default:
		from.Text = fault.Text{ZH: "未指定,使用默认目录", EN: "is not given, so this is the default"}
		from.Hint = fault.Text{ZH: "请用 --data-dir DIR 指定安装所在目录", EN: "name the directory of the installation with --data-dir DIR"}
	}
	return from
}
