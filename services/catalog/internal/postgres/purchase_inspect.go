package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

// InspectedPurchase is a purchase of any user, with the columns that concern its
// delivery to billing.
type InspectedPurchase struct {
	catalog.Purchase
	NextSendAt time.Time // when the sweeper sends it, if it is still pending
	Resent     int       // how often the sweeper has sent it
	ReadAt     time.Time // now, by the database's clock
}

const inspectedColumns = purchaseColumns + `, next_send_at, claimed, now()`

// InspectPurchase returns a purchase of any user, or ErrPurchaseNotFound.
func (s *Store) InspectPurchase(ctx context.Context, id uuid.UUID) (InspectedPurchase, error) {
	return pg.One(ctx, s.background, "read purchase", catalog.ErrPurchaseNotFound, scanInspected, `
		SELECT `+inspectedColumns+`
		FROM catalog.purchases
		WHERE id = $1`, id)
}

// OldestPending returns at most limit pending purchases, the oldest first, and the
// number of all pending purchases.
func (s *Store) OldestPending(ctx context.Context, limit int) (oldest []InspectedPurchase, total int, err error) {
	scan := func(row pgx.CollectableRow) (InspectedPurchase, error) {
		return scanInspected(alsoScan{row, []any{&total}})
	}
	oldest, err = pg.Rows(ctx, s.background, "list pending purchases", scan, `
		SELECT `+inspectedColumns+`, (SELECT count(*) FROM catalog.purchases WHERE status = 'pending')
		FROM catalog.purchases
		WHERE status = 'pending'
		ORDER BY created_at, id
		LIMIT $1`, limit)
	return oldest, total, err
}

func scanInspected(row pgx.CollectableRow) (InspectedPurchase, error) {
	var p InspectedPurchase
	var err error
	p.Purchase, err = scanPurchase(alsoScan{row, []any{&p.NextSendAt, &p.Resent, &p.ReadAt}})
	return p, err
}
