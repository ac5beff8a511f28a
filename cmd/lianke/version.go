package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/lianke/lianke/internal/pg"
)

func versionCommand() command {
	return command{name: "version", about: "say which version this is", run: showVersion}
}

func showVersion(_ context.Context, c console, args []string) error {
	fs := newFlags(c, versionCommand())
	flags := commonFlags(fs)
	if err := parseFlags(fs, args); err != nil {
		return err
	}
	if flags.json {
		return json.NewEncoder(c.out).Encode(map[string]string{
			"version": version(), "go": runtime.Version(), "schema": pg.MigrationHash(),
		})
	}
	fmt.Fprintf(c.out, "lianke %s (%s, schema %s)\n", version(), runtime.Version(), pg.MigrationHash())
	return nil
}
