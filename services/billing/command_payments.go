package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"lavka/services/billing/internal/billing"
	"lavka/services/billing/internal/postgres"
)

// listRefusedPayments runs the command "payments refused": it writes one line for
// each refused payment and reversal, oldest first.
func listRefusedPayments(ctx context.Context, store *postgres.Store, out io.Writer) error {
	return store.RefusedPayments(ctx, func(p billing.RefusedPayment) error {
		since := ""
		if p.CreditedSince {
			since = "\tcredited since"
			if p.ReversalID != nil {
				since = "\tdecided since"
			}
		}
		if p.ReversalID != nil {
			_, err := fmt.Fprintf(out, "%s\treversal %d\tpayment %d\tuser %d\tbill %d\ttotal %s\t%s\t%d times since %s%s\n", timestamp(p.LastAt),
				*p.ReversalID, p.PaymentID, p.UserID, p.BillID, p.Amount, p.Reason, p.Times, timestamp(p.FirstAt), since)
			return err
		}
		_, err := fmt.Fprintf(out, "%s\tpayment %d\tuser %d\tbill %d\tamount %s\t%s\t%d times since %s%s\n", timestamp(p.LastAt),
			p.PaymentID, p.UserID, p.BillID, p.Amount, p.Reason, p.Times, timestamp(p.FirstAt), since)
		return err
	})
}

// timestamp returns t in UTC, as RFC 3339.
func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
