package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/billing/internal/billing"
)

// Transactions returns a user's transactions, newest first.
func (s *Store) Transactions(ctx context.Context, f billing.TransactionFilter) ([]billing.Transaction, error) {
	sql := `
		SELECT id, bill_id, user_id, amount, balance_after, payment_id, purchase_id, created_at
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
	if f.BillID == nil && f.Type == "" { // the index has this order, so the read is short
		return pg.Collect(ctx, s.reads, "list transactions", scanTransaction, sql, args...)
	}
	return pg.Rows(ctx, s.pool, "list transactions", scanTransaction, sql, args...)
}

func scanTransaction(row pgx.CollectableRow) (t billing.Transaction, err error) {
	err = row.Scan(&t.ID, &t.BillID, &t.UserID, &t.Amount, &t.BalanceAfter, &t.PaymentID, &t.PurchaseID, &t.CreatedAt)
	t.Type = billing.TypePurchase
	if t.PaymentID != nil {
		t.Type = billing.TypePayment
	}
	return t, err
}
