package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"lavka/libs/pg"
	"lavka/services/billing/internal/billing"
)

// Transactions lists a user's history, newest first.
func (s *Store) Transactions(ctx context.Context, f billing.TransactionFilter) ([]billing.Transaction, error) {
	sql := `
		SELECT id, bill_id, user_id, amount, balance_after,
		       CASE WHEN payment_id IS NULL THEN 'purchase' ELSE 'payment' END, payment_id, purchase_id, created_at
		FROM billing.transactions
		WHERE user_id = $1 AND ($2::bigint = 0 OR id < $2)`
	args := []any{f.UserID, f.Before, f.Limit}
	if f.BillID != nil {
		sql += ` AND bill_id = $4`
		args = append(args, *f.BillID)
	}
	switch f.Type {
	case billing.TypePayment:
		sql += ` AND payment_id IS NOT NULL`
	case billing.TypePurchase:
		sql += ` AND payment_id IS NULL`
	}
	sql += ` ORDER BY id DESC LIMIT $3`
	if f.BillID == nil && f.Type == "" { // the index holds them in this order
		return pg.Collect(ctx, s.reads, "list transactions", pgx.RowToStructByPos[billing.Transaction], sql, args...)
	}
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, pg.Fail("list transactions", err)
	}
	transactions, err := pgx.CollectRows(rows, pgx.RowToStructByPos[billing.Transaction])
	return transactions, pg.Fail("list transactions", err)
}
