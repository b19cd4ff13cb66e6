package postgres

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

const purchaseColumns = `id, user_id, product_id, title, price, bill_id, expected_price, coalesce(idempotency_key, ''), status,
	coalesce(decline_reason, ''), balance, transaction_id, created_at, expires_at, settled_at, trace_context,
	coalesce(refunded, 0)`

// Purchase returns one of a user's purchases, or ErrPurchaseNotFound.
func (s *Store) Purchase(ctx context.Context, userID int64, id uuid.UUID) (catalog.Purchase, error) {
	return pg.CollectOne(ctx, s.reads, "read purchase", catalog.ErrPurchaseNotFound, scanPurchase, `
		SELECT `+purchaseColumns+`
		FROM catalog.purchases
		WHERE id = $1 AND user_id = $2`, id, userID)
}

// Purchases lists a user's purchases, newest first. The user is part of the order:
// the order by id alone would also be the primary key's, in which Postgres would
// look for the user's rows among all others (ADR 46).
func (s *Store) Purchases(ctx context.Context, q catalog.PurchaseQuery) ([]catalog.Purchase, error) {
	where, args := `user_id >= $2 AND user_id <= $2`, []any{q.Limit, q.UserID}
	if q.Before != nil {
		where, args = `user_id >= $2 AND (user_id, id) < ($2, $3)`, append(args, *q.Before)
	}
	switch q.Status { // each has an index of its own
	case "":
	case catalog.Pending:
		where += ` AND settled_at IS NULL` // see migration 00007
	case catalog.Completed:
		where += ` AND status = 'completed'`
	case catalog.Declined:
		where += ` AND status = 'declined'`
	default:
		return nil, fmt.Errorf("list purchases: unknown status %q", q.Status)
	}
	sql := pg.Page(`SELECT ` + purchaseColumns + ` FROM catalog.purchases WHERE ` + where + ` ORDER BY user_id DESC, id DESC`)
	if q.Status == catalog.Pending { // the index keeps an entry of each purchase that was pending, until the table is vacuumed
		return pg.CollectExpensive(ctx, s.expensive, "list pending purchases", scanPurchase, sql, args...)
	}
	return pg.Collect(ctx, s.reads, "list purchases", scanPurchase, sql, args...)
}

func scanPurchase(row pgx.CollectableRow) (catalog.Purchase, error) {
	var p catalog.Purchase
	err := row.Scan(&p.ID, &p.UserID, &p.ProductID, &p.Title, &p.Price, &p.BillID, &p.ExpectedPrice, &p.Key, &p.Status,
		&p.Reason, &p.Balance, &p.TransactionID, &p.CreatedAt, &p.ExpiresAt, &p.SettledAt, &p.Trace, &p.Refunded)
	return p, err
}
