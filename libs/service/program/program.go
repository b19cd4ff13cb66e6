// Package program is the main function that all services share.
package program

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"lavka/libs/service/config"
)

// Streams are the standard streams of a program. Tests pass their own.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Main loads a service's settings into a C (see [config.Load]) and runs it with
// the arguments of the command line. SIGINT and SIGTERM end run's context. If
// either fails, Main writes one line to standard error and exits with status 1.
func Main[C any](service string, run func(ctx context.Context, cfg C, args []string, std Streams) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var cfg C
	err := config.Load(&cfg)
	if err == nil {
		err = run(ctx, cfg, os.Args[1:], Streams{os.Stdin, os.Stdout, os.Stderr})
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", service, config.Sentence(err))
		os.Exit(1)
	}
}

// Command returns the command that the arguments name, and its own arguments.
// Only the commands in withArguments have any: the others are all words, joined by
// a space, so that a word too many makes a command that does not exist. Without
// arguments the command is "serve".
func Command(args []string, withArguments ...string) (command string, rest []string) {
	switch {
	case len(args) == 0:
		return "serve", nil
	case slices.Contains(withArguments, args[0]):
		return args[0], args[1:]
	}
	return strings.Join(args, " "), nil
}
