// Command lianke is the whole platform in one program. `lianke help` lists its subcommands.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/lianke/lianke/internal/fault"
)

// command is one subcommand. Its file is named after it.
type command struct {
	name  string
	args  string // usage after the name
	about string
	run   func(ctx context.Context, io console, args []string) error
}

// console is where a command reads and writes. Logs go to err, results to out.
type console struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// commands in the order people meet them.
func commands() []command {
	return []command{
		demoCommand(),
		serveCommand(),
		migrateCommand(),
		doctorCommand(),
		backupCommand(),
		restoreCommand(),
		configCommand(),
		versionCommand(),
		importCommand(),
		segmentCommand(),
		journeyCommand(),
		sandboxCommand(),
		identityCommand(),
		searchCommand(),
		benchCommand(),
	}
}

// errUsage ends a command with status 2; the flag package or the command has said why.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, console{os.Stdin, os.Stdout, os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes one subcommand and returns the exit status: 0 done, 1 failed, 2 used wrongly.
func run(ctx context.Context, c console, args []string) int {
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		usage(c.out)
		return 0
	}
	for _, cmd := range commands() {
		if cmd.name != args[0] {
			continue
		}
		err := cmd.run(ctx, c, args[1:])
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errUsage):
			return 2
		}
		fmt.Fprintf(c.err, "lianke %s: %v\n", cmd.name, err)
		if f := fault.From(err); f.Kind != fault.Internal {
			fmt.Fprint(c.err, inChinese(f))
		}
		return 1
	}
	fmt.Fprintf(c.err, "lianke: no command %q\n\n", args[0])
	usage(c.err)
	return 2
}

// inChinese says a fault again: the line above it is in English.
func inChinese(f *fault.Error) string {
	var b strings.Builder
	line := func(lead, text, hint string) {
		if b.WriteString("  " + lead + text); hint != "" {
			b.WriteString(" → " + hint)
		}
		b.WriteString("\n")
	}
	line("", f.Text.ZH, f.Hint.ZH)
	for _, field := range f.Fields {
		line("  "+field.Path+" ", field.Text.ZH, field.Hint.ZH)
	}
	return b.String()
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Lianke 连客 — members, marketing and trade of a brand, in one program.\n\n")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, cmd := range commands() {
		fmt.Fprintf(tw, "  lianke %s\t%s\n", strings.TrimSpace(cmd.name+" "+cmd.args), cmd.about)
	}
	tw.Flush()
	fmt.Fprint(w, "\nEvery command takes --data-dir; `lianke COMMAND -h` shows its flags.\n")
}

// newFlags returns a flag set that prints its errors and usage to the console.
func newFlags(c console, cmd command) *flag.FlagSet {
	fs := flag.NewFlagSet(cmd.name, flag.ContinueOnError)
	fs.SetOutput(c.err)
	fs.Usage = func() {
		fmt.Fprintf(c.err, "lianke %s — %s\n", strings.TrimSpace(cmd.name+" "+cmd.args), cmd.about)
		fs.PrintDefaults()
	}
	return fs
}

// parse reads flags; a wrong flag ends the command as misuse.
func parse(fs *flag.FlagSet, args []string) error {
	err := fs.Parse(args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return errUsage
	}
	return err
}

// parseFlags reads the flags of a command that takes no words. A stray word is refused: flags behind it would be lost,
// --data-dir among them.
func parseFlags(fs *flag.FlagSet, args []string) error {
	if err := parse(fs, args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(fs.Output(), "lianke %s takes no argument %q\n", fs.Name(), fs.Arg(0))
		fs.Usage()
		return errUsage
	}
	return nil
}
