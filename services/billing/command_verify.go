package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"lavka/libs/service/nightly"
	"lavka/libs/service/schemacheck"
	"lavka/libs/service/verification"
	"lavka/services/billing/internal/postgres"
)

// runVerify runs the command "verify", once or daily. With --books it also compares a
// file of catalog's books with the ledger.
func runVerify(ctx context.Context, cfg Config, args []string, log *slog.Logger, out io.Writer) error {
	options, err := nightly.ParseOptions(args, true)
	if err != nil {
		return err
	}
	tasks := []nightly.Task{{
		Name: "verify the ledger",
		Done: func(ctx context.Context, since time.Time) (bool, error) {
			return ask(ctx, cfg, log, func(s *postgres.Store) (bool, error) { return s.Verified(ctx, since) })
		},
		Do: func(ctx context.Context, night time.Time) (string, error) {
			return ask(ctx, cfg, log, func(s *postgres.Store) (string, error) { return verify(ctx, s, night, log) })
		},
	}}
	if options.Books != "" {
		tasks = append(tasks, comparison(cfg, options.Books, log))
	}
	return options.Run(ctx, tasks, out, cfg.InternalAddr, log)
}

// verify checks the whole ledger, except what was checked since the night began, and
// records the result, because the metrics must show it to operators who did not run the
// command.
func verify(ctx context.Context, store *postgres.Store, night time.Time, log *slog.Logger) (string, error) {
	var v postgres.Verified
	check := func() (said string, err error) {
		v, err = store.ResumeVerify(ctx, night)
		return fmt.Sprintf("the ledger adds up: %d bills, %d transactions, %d charges", v.Bills, v.Transactions, v.Charges), err
	}
	record := func(ctx context.Context, found error, took time.Duration) error {
		return store.RecordVerification(ctx, v, found, took)
	}
	return verification.Check(ctx, log, check, record, postgres.ErrDifference, schemacheck.ErrFound)
}

// ask is withStore for what has an answer. Between two nights there is no session: it
// could keep migrate finish from completing an upgrade.
func ask[T any](ctx context.Context, cfg Config, log *slog.Logger, f func(*postgres.Store) (T, error)) (answer T, err error) {
	err = withStore(ctx, cfg, log, "verify", func(s *postgres.Store) (err error) {
		answer, err = f(s)
		return err
	})
	return answer, err
}
