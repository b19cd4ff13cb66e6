// Command catalog is the shop's shelf and till: products, and purchases.
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
		err = run(ctx, cfg, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "catalog:", config.Sentence(err))
		os.Exit(1)
	}
}
