package main

import (
	"context"
	"fmt"
	"io"

	"lavka/services/catalog/internal/postgres"
)

// verify runs the command "verify": it checks that purchases agree with their refunds,
// and what the schema must have. Whether both agree with the ledger is checked by lavka verify, which reads the books
// of both services.
func verify(ctx context.Context, store *postgres.Store, out io.Writer) error {
	if err := store.Verify(ctx); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, "catalog's schema is complete, and purchases agree with their refunds")
	return err
}

// writeBooks runs the command "books": it writes all purchases and refunds to
// out, for a
// comparison with the ledger (see lavka/libs/contract/books).
func writeBooks(ctx context.Context, store *postgres.Store, out io.Writer) error {
	return store.Books(ctx, out)
}
