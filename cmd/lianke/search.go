package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

func searchCommand() command {
	return command{
		name:  "search",
		args:  "rebuild",
		about: "drop the search index and fill it anew from the database",
		run:   runSearch,
	}
}

func runSearch(ctx context.Context, c console, args []string) (err error) {
	fs := newFlags(c, searchCommand())
	flags := commonFlags(fs)
	words, err := parseMixed(fs, args)
	if err != nil {
		return err
	}
	if len(words) != 1 || words[0] != "rebuild" {
		fs.Usage()
		return errUsage
	}
	app, err := openApp(ctx, c, flags)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	n, err := app.catalogue.Rebuild(ctx)
	if err != nil {
		return err
	}
	if flags.json {
		return json.NewEncoder(c.out).Encode(map[string]int{"products": n})
	}
	fmt.Fprintf(c.out, "%d 件商品 products\n", n)
	return nil
}
