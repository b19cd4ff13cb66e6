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

// Books writes every decision on a purchase, in one snapshot, while the shop is
// running.
func (s *Store) Books(ctx context.Context, out io.Writer) error {
	return pg.Snapshot(ctx, s.background, func(tx pgx.Tx, at time.Time) error {
		w, err := books.NewWriter(out, books.Billing, at)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			SELECT purchase_id, coalesce(user_id, 0), coalesce(bill_id, 0), coalesce(amount, 0), outcome, coalesce(transaction_id, 0)
			FROM billing.charges ORDER BY purchase_id`)
		if err != nil {
			return pg.Wrap("read charges", err)
		}
		defer rows.Close()
		for rows.Next() {
			var id uuid.UUID
			var e books.Entry
			if err := rows.Scan(&id, &e.UserID, &e.BillID, &e.Minor, &e.Outcome, &e.TransactionID); err != nil {
				return pg.Wrap("read charges", err)
			}
			e.PurchaseID = id.String()
			if err := w.Write(e); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return pg.Wrap("read charges", err)
		}
		return w.Close()
	})
}
