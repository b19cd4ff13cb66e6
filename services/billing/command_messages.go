package main

import (
	"context"
	"fmt"
	"io"

	"lavka/services/billing/internal/postgres"
)

// listRejectedMessages runs the command "messages rejected": it writes one line for
// each rejected message, oldest first.
func listRejectedMessages(ctx context.Context, store *postgres.Store, out io.Writer) error {
	return store.RejectedMessages(ctx, func(m postgres.RejectedMessage) error {
		_, err := fmt.Fprintf(out, "%s\t%s\t%s\t%d times since %s\t%q\n", timestamp(m.LastAt),
			m.Key, m.Reason, m.Times, timestamp(m.FirstAt), m.Body)
		return err
	})
}
