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

// Books writes every purchase, in one snapshot, while the shop is running.
func (s *Store) Books(ctx context.Context, out io.Writer) error {
	return pg.Snapshot(ctx, s.background, func(tx pgx.Tx, at time.Time) error {
		w, err := books.NewWriter(out, books.Catalog, at)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			SELECT id, user_id, bill_id, price,
				CASE status WHEN 'completed' THEN 'settled' WHEN 'declined' THEN decline_reason ELSE 'pending' END,
				coalesce(transaction_id, 0), expires_at < now() - interval '1 hour'
			FROM catalog.purchases ORDER BY id`)
		if err != nil {
			return pg.Wrap("read purchases", err)
		}
		defer rows.Close()
		for rows.Next() {
			var id uuid.UUID
			var e books.Entry
			if err := rows.Scan(&id, &e.UserID, &e.BillID, &e.Minor, &e.Outcome, &e.TransactionID, &e.Due); err != nil {
				return pg.Wrap("read purchases", err)
			}
			e.PurchaseID = id.String()
			if err := w.Write(e); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return pg.Wrap("read purchases", err)
		}
		return w.Close()
	})
}
