package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"lavka/deploy/local/stack"
)

// finish completes an upgrade of the running shop: it opens the gate for new kinds of rows in all three schemas, in the order in which the
// services may come to depend on each other. It stops at the first service that still has a replica of another release.
func finish(ctx context.Context, cfg settings, args []string) error {
	if len(args) > 0 {
		return errors.New("usage: lavka finish")
	}
	shop, err := stack.Running(cfg.Data)
	if err != nil {
		return err
	}
	for _, service := range []string{stack.Auth, stack.Billing, stack.Catalog} {
		cmd := shop.OwnerCommand(ctx, service, "migrate", "finish")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s migrate finish: %w", service, err)
		}
	}
	_, err = fmt.Println("the upgrade is complete: new kinds of rows are open in all services")
	return err
}
