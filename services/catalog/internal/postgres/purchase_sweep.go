package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

// Due claims and returns at most limit pending purchases that are due to be sent
// again. The claim is committed when it returns.
func (s *Store) Due(ctx context.Context, limit int, backOff func(claimed int) time.Duration) ([]catalog.Purchase, error) {
	var due []catalog.Purchase
	err := pg.InTx(ctx, s.background, func(tx *pg.Tx) error {
		var err error
		var waits []time.Duration
		if due, waits, err = lockDue(ctx, tx, limit, backOff); err != nil || len(due) == 0 {
			return err
		}
		ids := make([]uuid.UUID, len(due))
		for i, p := range due {
			ids[i] = p.ID
		}
		// Losing a claim in a crash would do no harm, but the rows themselves must not
		// be lost: this COMMIT waits for a synchronous standby that may not have them yet.
		_, err = tx.Exec(ctx, `
			UPDATE catalog.purchases
			SET next_send_at = now() + claim.wait, claimed = claimed + 1
			FROM unnest($1::uuid[], $2::interval[]) AS claim (purchase_id, wait)
			WHERE id = claim.purchase_id`, ids, waits)
		return pg.Wrap("move next_send_at", err)
	})
	if err != nil {
		return nil, pg.Wrap("claim due purchases", err)
	}
	return due, nil
}

func lockDue(ctx context.Context, tx *pg.Tx, limit int, backOff func(int) time.Duration) ([]catalog.Purchase, []time.Duration, error) {
	var waits []time.Duration
	scan := func(row pgx.CollectableRow) (catalog.Purchase, error) {
		var claimed int
		p, err := scanPurchase(alsoScan{row, []any{&claimed}})
		waits = append(waits, backOff(claimed))
		return p, err
	}
	due, err := pg.Rows(ctx, tx, "lock due purchases", scan, `
		SELECT `+purchaseColumns+`, claimed
		FROM catalog.purchases
		WHERE status = 'pending' AND next_send_at <= now()
		ORDER BY next_send_at
		LIMIT $1
		FOR NO KEY UPDATE SKIP LOCKED`, limit)
	return due, waits, err
}

// alsoScan scans more columns after those that its caller asks for.
type alsoScan struct {
	pgx.CollectableRow
	more []any
}

func (r alsoScan) Scan(dest ...any) error { return r.CollectableRow.Scan(append(dest, r.more...)...) }

// Pending counts all pending purchases, and those of each user with at least
// atLeast of them.
func (s *Store) Pending(ctx context.Context, atLeast int) (catalog.Census, error) {
	var census catalog.Census
	var users []int64
	var counts []int
	err := s.background.QueryRow(ctx, `
		WITH by_user AS (
			SELECT user_id, count(*) AS n, min(created_at) AS oldest
			FROM catalog.purchases
			WHERE status = 'pending'
			GROUP BY user_id)
		SELECT coalesce(sum(n), 0)::bigint, coalesce(now() - min(oldest), '0'),
			coalesce(array_agg(user_id) FILTER (WHERE n >= $1), '{}'), coalesce(array_agg(n) FILTER (WHERE n >= $1), '{}')
		FROM by_user`, atLeast).Scan(&census.Total, &census.Oldest, &users, &counts)
	if err != nil {
		return census, pg.Wrap("count pending purchases", err)
	}
	census.Users = make(map[int64]int, len(users))
	for i, id := range users {
		census.Users[id] = counts[i]
	}
	return census, nil
}
