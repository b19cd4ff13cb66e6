package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/domain/money"
	"lavka/libs/service/pg"
	"lavka/libs/service/polledmetrics"
	"lavka/libs/service/schemacheck"
	"lavka/libs/service/verification"
)

// ErrDifference means that a purchase does not agree with its refunds, or the stock of
// a product with what was sold of it.
var ErrDifference = errors.New("rows of catalog do not agree")

// Verify checks, in one snapshot, that the sum of refunds in each purchase is that of
// its refunds, and not above its amount, and counts each stock again; then what the
// schema must have. It returns ErrDifference or [schemacheck.ErrFound] with the first
// fault.
func (s *Store) Verify(ctx context.Context) error {
	err := pg.Snapshot(ctx, s.background, func(tx pgx.Tx, _ time.Time) error {
		if err := verifyRefunds(ctx, tx); err != nil {
			return err
		}
		return verifyStock(ctx, tx)
	})
	if err != nil {
		return err
	}
	return schemacheck.Check(ctx, s.background, Expected)
}

func verifyRefunds(ctx context.Context, tx pgx.Tx) error {
	var id uuid.UUID
	var shown, price, sum money.Amount
	err := tx.QueryRow(ctx, `
			SELECT coalesce(p.id, r.purchase_id), coalesce(p.refunded, 0), coalesce(p.price, 0), coalesce(r.amount, 0)
			FROM (SELECT id, refunded, price FROM catalog.purchases WHERE status = 'completed') p
			FULL JOIN (SELECT purchase_id, sum(amount) FILTER (WHERE status = 'completed')::bigint AS amount,
				sum(amount) FILTER (WHERE status <> 'declined') AS wanted FROM catalog.refunds GROUP BY purchase_id) r ON r.purchase_id = p.id
			WHERE coalesce(p.refunded, 0) <> coalesce(r.amount, 0) OR coalesce(r.wanted, 0) > coalesce(p.price, 0)
			ORDER BY 1 LIMIT 1`).Scan(&id, &shown, &price, &sum)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return pg.Wrap("compare purchases with refunds", err)
	}
	return fmt.Errorf("%w: purchase %s for %s shows %s as refunded, and its refunds sum to %s", ErrDifference, id, price, shown, sum)
}

// verifyStock counts each stock again: all changes since its limit was set, without
// what the purchases have that are not declined. What refunds put back are changes too.
func verifyStock(ctx context.Context, tx pgx.Tx) error {
	var product, onHand, counted int64
	err := tx.QueryRow(ctx, `
		SELECT product_id, on_hand, coalesce(changed, 0) - coalesce(sold, 0)
		FROM catalog.stock
		LEFT JOIN (
			SELECT coalesce(stock_limit, id) AS stock_limit, sum(change)::bigint AS changed
			FROM catalog.stock_changes GROUP BY 1) AS changes USING (stock_limit)
		LEFT JOIN (
			SELECT stock_limit, sum(stock_taken)::bigint AS sold
			FROM catalog.purchases WHERE stock_taken IS NOT NULL AND status <> 'declined' GROUP BY 1) AS sales USING (stock_limit)
		WHERE on_hand <> coalesce(changed, 0) - coalesce(sold, 0)
		ORDER BY product_id LIMIT 1`).Scan(&product, &onHand, &counted)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return pg.Wrap("count stock", err)
	}
	return fmt.Errorf("%w: the stock of product %d is %d, and its changes and purchases make %d", ErrDifference, product, onHand, counted)
}

// verifications are the results of catalog verify.
var verifications = verification.Results{Table: "catalog.verifications", Metric: "catalog", Command: "catalog verify"}

// RecordVerification records what Verify found, nil for nothing, and how long it took.
func (s *Store) RecordVerification(ctx context.Context, found error, took time.Duration) error {
	return verifications.Record(ctx, s.background, found, took)
}

// Verified reports whether a result of Verify was recorded at or after a time.
func (s *Store) Verified(ctx context.Context, since time.Time) (bool, error) {
	return verifications.Done(ctx, s.background, since)
}

// Verifications returns metrics of the last verification.
func (s *Store) Verifications(log *slog.Logger) *polledmetrics.Metrics {
	return verifications.Metrics(s.background, log)
}
