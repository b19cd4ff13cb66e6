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

// Books writes every purchase and every refund, in one snapshot, while the shop is running.
func (s *Store) Books(ctx context.Context, out io.Writer) error {
	return pg.Snapshot(ctx, s.background, func(tx pgx.Tx, at time.Time) error {
		w, err := books.NewWriter(out, books.Catalog, at)
		if err != nil {
			return err
		}
		err = writeEntries(ctx, tx, w, "read purchases", `
			SELECT NULL::uuid, id, user_id, bill_id, price,
				CASE status WHEN 'completed' THEN 'settled' WHEN 'declined' THEN decline_reason ELSE 'pending' END,
				coalesce(transaction_id, 0), expires_at < now() - interval '1 hour'
			FROM catalog.purchases ORDER BY id`)
		if err == nil {
			err = writeEntries(ctx, tx, w, "read refunds", `
				SELECT id, purchase_id, user_id, bill_id, amount,
					CASE status WHEN 'completed' THEN 'settled' WHEN 'declined' THEN decline_reason ELSE 'pending' END,
					coalesce(transaction_id, 0), created_at < now() - interval '1 hour'
				FROM catalog.refunds ORDER BY id`)
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
		if err := rows.Scan(&refund, &id, &e.UserID, &e.BillID, &e.Minor, &e.Outcome, &e.TransactionID, &e.Due); err != nil {
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
