package main

import (
	"context"
	"errors"
	"fmt"
)

func migrateCommand() command {
	return command{
		name:  "migrate",
		about: "bring the database schema to this version",
		run:   migrate,
	}
}

func migrate(ctx context.Context, c console, args []string) (err error) {
	fs := newFlags(c, migrateCommand())
	flags := commonFlags(fs)
	if err := parseFlags(fs, args); err != nil {
		return err
	}
	app, err := openOrMakeApp(ctx, c, flags)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	fmt.Fprintln(c.out, "schema is current")
	return nil
}
