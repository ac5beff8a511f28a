package main

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"
)

func configCommand() command {
	return command{name: "config", about: "print the effective configuration, secrets masked", run: showConfig}
}

func showConfig(_ context.Context, c console, args []string) error {
	fs := newFlags(c, configCommand())
	flags := commonFlags(fs)
	if err := parseFlags(fs, args); err != nil {
		return err
	}
	cfg, err := flags.config()
	if err != nil {
		return err
	}
	if flags.json {
		values := map[string]string{}
		for _, v := range cfg.Effective() {
			values[v.Name] = v.Value
		}
		return json.NewEncoder(c.out).Encode(values)
	}
	tw := tabwriter.NewWriter(c.out, 0, 0, 1, ' ', 0)
	for _, v := range cfg.Effective() {
		fmt.Fprintf(tw, "%s=%s\t# %s\n", v.Name, v.Value, v.Doc)
	}
	return tw.Flush()
}
