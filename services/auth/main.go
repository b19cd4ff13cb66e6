// Command auth is the shop's users: registration, passwords, tokens.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"lavka/libs/service/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var cfg Config
	err := config.Load(&cfg)
	if err == nil {
		err = run(ctx, cfg, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "auth: %s\n", config.Sentence(err))
		stop()
		os.Exit(1)
	}
}
