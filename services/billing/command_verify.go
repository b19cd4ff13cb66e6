package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"lavka/libs/service/schemacheck"
	"lavka/services/billing/internal/postgres"
)

// verify runs the command "verify": it checks the whole ledger and writes the
// result to out. It also records the result, because the metrics must show it to
// operators who did not run the command. A read-only standby is verified as well,
// only without a record.
func verify(ctx context.Context, store *postgres.Store, log *slog.Logger, out io.Writer) error {
	began := time.Now()
	v, err := store.Verify(ctx)
	if err != nil && !errors.Is(err, postgres.ErrDifference) && !errors.Is(err, schemacheck.ErrFound) {
		return err
	}
	if unrecorded := store.RecordVerification(ctx, v, err, time.Since(began)); unrecorded != nil {
		log.WarnContext(ctx, "the result could not be recorded, so the metrics will not show it", "error", unrecorded)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "the ledger adds up: %d bills, %d transactions, %d charges\n", v.Bills, v.Transactions, v.Charges)
	return err
}

// writeBooks runs the command "books": it writes all decisions on purchases and
// refunds to out,
// for a comparison with catalog's (see lavka/libs/contract/books).
func writeBooks(ctx context.Context, store *postgres.Store, out io.Writer) error {
	return store.Books(ctx, out)
}
