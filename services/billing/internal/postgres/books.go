package postgres

import (
	"context"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/contract/books"
	"lavka/libs/service/pg"
)

// Books writes every decision on a purchase or a refund, in one snapshot, while the shop is
// running.
func (s *Store) Books(ctx context.Context, out io.Writer) error {
	return pg.Snapshot(ctx, s.background, func(tx pgx.Tx, at time.Time) error {
		w, err := books.NewWriter(out, books.Billing, at)
		if err != nil {
			return err
		}
		err = writeEntries(ctx, tx, w, "read charges", `
			SELECT NULL::uuid, purchase_id, coalesce(user_id, 0), coalesce(bill_id, 0), coalesce(amount, 0), outcome, coalesce(transaction_id, 0)
			FROM billing.charges ORDER BY purchase_id`)
		if err == nil {
			err = writeEntries(ctx, tx, w, "read refunds", `
				SELECT refund_id, purchase_id, user_id, bill_id, amount, CASE outcome WHEN 'refunded' THEN 'settled' ELSE outcome END,
					CASE outcome WHEN 'refunded' THEN id ELSE 0 END
				FROM billing.refunds ORDER BY refund_id`)
		}
		if err != nil {
			return err
		}
		return w.Close()
	})
}

func writeEntries(ctx context.Context, tx pgx.Tx, w *books.Writer, what, sql string) error {
	rows, err := tx.Query(ctx, sql)
	if err != nil {
		return pg.Wrap(what, err)
	}
	defer rows.Close()
	for rows.Next() {
		var refund *uuid.UUID
		var id uuid.UUID
		var e books.Entry
		if err := rows.Scan(&refund, &id, &e.UserID, &e.BillID, &e.Minor, &e.Outcome, &e.TransactionID); err != nil {
			return pg.Wrap(what, err)
		}
		e.PurchaseID = id.String()
		if refund != nil {
			e.RefundID = refund.String()
		}
		if err := w.Write(e); err != nil {
			return err
		}
	}
	return pg.Wrap(what, rows.Err())
}
