package main

import (
	"context"
	"fmt"
	"io"

	"lavka/libs/service/pg"
	"lavka/services/auth/internal/postgres"
)

// verify runs the command "verify": it checks what the schema must have.
func verify(ctx context.Context, cfg Config, out io.Writer) error {
	pool, err := pg.Open(ctx, cfg.DatabaseURL.Reveal(), service+" verify", 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	pools := pg.OnePool(pool)
	defer pools.Close()
	if err := postgres.New(pools).Verify(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "auth's schema is complete")
	return err
}
