package postgres

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

const purchaseColumns = `id, user_id, product_id, title, price, bill_id, expected_price, coalesce(idempotency_key, ''), status,
	coalesce(decline_reason, ''), balance, transaction_id, created_at, expires_at, settled_at, trace_context`

// Purchase returns one of a user's purchases, or ErrPurchaseNotFound.
func (s *Store) Purchase(ctx context.Context, userID int64, id uuid.UUID) (catalog.Purchase, error) {
	found, err := pg.Collect(ctx, s.reads, "read purchase", scanPurchase, `
		SELECT `+purchaseColumns+`
		FROM catalog.purchases
		WHERE id = $1 AND user_id = $2`, id, userID)
	if err == nil && len(found) == 0 {
		err = catalog.ErrPurchaseNotFound
	}
	if err != nil {
		return catalog.Purchase{}, err
	}
	return found[0], nil
}

// Purchases lists a user's purchases, newest first.
func (s *Store) Purchases(ctx context.Context, q catalog.PurchaseQuery) ([]catalog.Purchase, error) {
	sql := `
		SELECT ` + purchaseColumns + `
		FROM catalog.purchases
		WHERE user_id = $1 AND ($2 = '' OR status = $2) AND ($3::uuid IS NULL OR id < $3)
		ORDER BY id DESC
		LIMIT $4`
	args := []any{q.UserID, string(q.Status), q.Before, q.Limit}
	if q.Status == "" { // the index has them in this order
		return pg.Collect(ctx, s.reads, "list purchases", scanPurchase, sql, args...)
	}
	return pg.Rows(ctx, s.pool, "list purchases", scanPurchase, sql, args...)
}

func scanPurchase(row pgx.CollectableRow) (catalog.Purchase, error) {
	var p catalog.Purchase
	err := row.Scan(&p.ID, &p.UserID, &p.ProductID, &p.Title, &p.Price, &p.BillID, &p.ExpectedPrice, &p.Key, &p.Status,
		&p.Reason, &p.Balance, &p.TransactionID, &p.CreatedAt, &p.ExpiresAt, &p.SettledAt, &p.Trace)
	return p, err
}
