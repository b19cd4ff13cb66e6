package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/billing/internal/billing"
)

// Transactions returns a user's transactions, newest first; none if f.BillID is not
// the user's bill. The user or the bill is part of the order: the order by id alone
// would also be the primary key's, in which Postgres would look for these rows among
// all others (ADR 46).
func (s *Store) Transactions(ctx context.Context, f billing.TransactionFilter) ([]billing.Transaction, error) {
	of, args := `user_id`, []any{f.Limit, f.UserID}
	if f.BillID != nil {
		of, args = `bill_id`, []any{f.Limit, *f.BillID}
	}
	where := of + ` >= $2 AND ` + of + ` <= $2`
	if f.Before != nil {
		where = of + ` >= $2 AND (` + of + `, id) < ($2, $3)`
		args = append(args, *f.Before)
	}
	switch f.Type { // an index for each
	case "":
	case billing.TypePayment:
		where += ` AND payment_id IS NOT NULL`
	case billing.TypePurchase:
		where += ` AND purchase_id IS NOT NULL`
	case billing.TypeRefund:
		where += ` AND refund_id IS NOT NULL`
	case billing.TypeReversal:
		where += ` AND reversal_id IS NOT NULL`
	default:
		return nil, fmt.Errorf("list transactions: unknown type %q", f.Type)
	}
	if f.BillID != nil {
		args = append(args, f.UserID)
		where += fmt.Sprintf(` AND EXISTS (SELECT FROM billing.bills WHERE id = $2 AND user_id = $%d)`, len(args))
	}
	sql := pg.Page(`
		SELECT id, bill_id, user_id, amount, balance_after, payment_id, purchase_id, refund_id, reversal_id, created_at
		FROM billing.transactions WHERE ` + where + ` ORDER BY ` + of + ` DESC, id DESC`)
	return pg.Collect(ctx, s.reads, "list transactions", scanTransaction, sql, args...)
}

func scanTransaction(row pgx.CollectableRow) (t billing.Transaction, err error) {
	err = row.Scan(&t.ID, &t.BillID, &t.UserID, &t.Amount, &t.BalanceAfter, &t.PaymentID, &t.PurchaseID, &t.RefundID, &t.ReversalID, &t.CreatedAt)
	switch {
	case err != nil:
		return t, err
	case t.PaymentID != nil:
		t.Type = billing.TypePayment
	case t.PurchaseID != nil:
		t.Type = billing.TypePurchase
	case t.RefundID != nil:
		t.Type = billing.TypeRefund
	case t.ReversalID != nil:
		t.Type = billing.TypeReversal
	default:
		return t, fmt.Errorf("transaction %d is of a type that this release does not know", t.ID)
	}
	return t, nil
}
