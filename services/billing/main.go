// Command billing keeps bills and their ledger: it credits payments, decides on
// purchases, and answers for every cent.
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
		err = run(ctx, cfg, os.Args[1:], os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "billing:", config.Sentence(err))
		os.Exit(1)
	}
}
