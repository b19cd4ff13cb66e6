package main

import (
	"context"
	"io"
	"log/slog"
	"time"

	"lavka/libs/service/nightly"
	"lavka/libs/service/schemacheck"
	"lavka/libs/service/verification"
	"lavka/services/catalog/internal/postgres"
)

// runVerify runs the command "verify", once or daily. With --books it also writes the
// books to a file, for billing.
func runVerify(ctx context.Context, cfg Config, args []string, log *slog.Logger, out io.Writer) error {
	options, err := nightly.ParseOptions(args, true)
	if err != nil {
		return err
	}
	tasks := []nightly.Task{{
		Name: "verify purchases",
		Done: func(ctx context.Context, since time.Time) (bool, error) {
			return ask(ctx, cfg, func(s *postgres.Store) (bool, error) { return s.Verified(ctx, since) })
		},
		Do: func(ctx context.Context, _ time.Time) (string, error) {
			return ask(ctx, cfg, func(s *postgres.Store) (string, error) { return verify(ctx, s, log) })
		},
	}}
	if file := options.Books; file != "" {
		tasks = append(tasks, nightly.Task{
			Name: "write the books",
			Done: func(_ context.Context, since time.Time) (bool, error) { return writtenSince(file, since) },
			Do: func(ctx context.Context, _ time.Time) (string, error) {
				return ask(ctx, cfg, func(s *postgres.Store) (string, error) { return writeBooksTo(ctx, s, file) })
			},
		})
	}
	return options.Run(ctx, tasks, out, cfg.InternalAddr, log)
}

// verify checks that purchases agree with their refunds and stock, and what the schema must have,
// and records the result for the metrics. Whether they agree with the ledger is checked
// by billing compare, which reads catalog's books.
func verify(ctx context.Context, store *postgres.Store, log *slog.Logger) (string, error) {
	check := func() (string, error) {
		return "catalog's schema is complete, purchases agree with their refunds, and every stock counts up", store.Verify(ctx)
	}
	return verification.Check(ctx, log, check, store.RecordVerification, postgres.ErrDifference, schemacheck.ErrFound)
}

// ask is withStore for what has an answer. Between two nights there is no session: it
// could keep migrate finish from completing an upgrade.
func ask[T any](ctx context.Context, cfg Config, f func(*postgres.Store) (T, error)) (answer T, err error) {
	err = withStore(ctx, cfg, "verify", func(s *postgres.Store) (err error) {
		answer, err = f(s)
		return err
	})
	return answer, err
}
