package main

import (
	"context"
	"fmt"
)

func migrateCommand() command {
	return command{
		name:  "migrate",
		about: "bring the database schema to this version",
		run:   migrate,
	}
}

func migrate(ctx context.Context, c console, args []string) error {
	fs := newFlags(c, migrateCommand())
	common := commonFlags(fs)
	if err := parse(fs, args); err != nil {
		return err
	}
	app, err := openApp(ctx, c, common)
	if err != nil {
		return err
	}
	defer app.Close()
	fmt.Fprintln(c.out, "schema is current")
	return nil
}
