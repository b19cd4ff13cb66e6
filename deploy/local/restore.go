package main

import (
	"context"
	"errors"
	"fmt"

	"lavka/deploy/local/stack"
	"lavka/libs/service/telemetry"
)

// restore restores a dump, and ends when a shop can be started on the data.
func restore(ctx context.Context, cfg settings, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return errors.New("usage: LAVKA_DATA=NEW lavka restore DUMP, where NEW is a new data directory with the secrets.json of the backup")
	}
	c, err := cfg.stack()
	if err != nil {
		return err
	}
	if c.Log, err = telemetry.NewLogger(stack.NewLines(c.Output, "lavka"), "lavka", cfg.logFormat(), "info"); err != nil {
		return err
	}
	if err := stack.Restore(ctx, c, args[0]); err != nil {
		return err
	}
	_, err = fmt.Printf("%s is restored: start the shop with LAVKA_DATA='%s' make run, and check it with make verify\n", args[0], cfg.Data)
	return err
}
