package main

import (
	"context"
	"io"
	"log/slog"
	"time"

	"lavka/libs/service/nightly"
	"lavka/libs/service/pg"
	"lavka/libs/service/schemacheck"
	"lavka/libs/service/verification"
	"lavka/services/auth/internal/postgres"
)

// runVerify runs the command "verify", once or daily.
func runVerify(ctx context.Context, cfg Config, args []string, log *slog.Logger, out io.Writer) error {
	options, err := nightly.ParseOptions(args, false)
	if err != nil {
		return err
	}
	return options.Run(ctx, []nightly.Task{{
		Name: "verify the schema",
		Done: func(ctx context.Context, since time.Time) (bool, error) {
			return withStore(ctx, cfg, func(s *postgres.Store) (bool, error) { return s.Verified(ctx, since) })
		},
		Do: func(ctx context.Context, _ time.Time) (string, error) {
			return withStore(ctx, cfg, func(s *postgres.Store) (string, error) { return verify(ctx, s, log) })
		},
	}}, out, cfg.InternalAddr, log)
}

// verify checks what the schema must have, and records the result for the metrics.
func verify(ctx context.Context, store *postgres.Store, log *slog.Logger) (string, error) {
	check := func() (string, error) { return "auth's schema is complete", store.Verify(ctx) }
	return verification.Check(ctx, log, check, store.RecordVerification, schemacheck.ErrFound)
}

// withStore calls f with a Store that has one session, for the command verify. Between
// two nights there is none: it could keep migrate finish from completing an upgrade.
func withStore[T any](ctx context.Context, cfg Config, f func(*postgres.Store) (T, error)) (T, error) {
	pool, err := pg.OpenForCommand(ctx, cfg.DatabaseURL.Reveal(), service+" verify")
	if err != nil {
		return *new(T), err
	}
	defer pool.Close()
	pools := pg.OnePool(pool)
	defer pools.Close()
	return f(postgres.New(pools))
}
