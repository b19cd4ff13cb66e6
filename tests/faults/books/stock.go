package books

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// stockEvery is how many times the ledger is checked for each time the stock is, which
// has to read all purchases since the watch began.
const stockEvery = 5

// stockWatch checks the stock while it is in use.
type stockWatch struct {
	since uuid.UUID // lower than the ids of all purchases of the products that are watched
	wrong []string
}

// clocks is by how much the clocks may be wrong from which ids of purchases are made.
const clocks = 48 * time.Hour

func newStockWatch(now time.Time) (w stockWatch) {
	binary.BigEndian.PutUint64(w.since[:8], uint64(now.Add(-clocks).UnixMilli())<<16)
	return w
}

func (w *stockWatch) look(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `
		SELECT format('product %s has a stock of %s, its changes and purchases make %s', product_id, on_hand, coalesce(changed, 0) - coalesce(sold, 0))
		FROM catalog.stock
		LEFT JOIN (SELECT coalesce(stock_limit, id) AS stock_limit, sum(change) AS changed FROM catalog.stock_changes GROUP BY 1) AS changes USING (stock_limit)
		LEFT JOIN (
			SELECT stock_limit, sum(stock_taken) AS sold FROM catalog.purchases
			WHERE id >= $1 AND stock_taken IS NOT NULL AND status <> 'declined' GROUP BY 1) AS sales USING (stock_limit)
		WHERE on_hand <> coalesce(changed, 0) - coalesce(sold, 0) OR on_hand < 0
		LIMIT 3`, w.since)
	if err != nil {
		return err
	}
	wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && len(w.wrong) < 5 {
		w.wrong = append(w.wrong, wrong...)
	}
	return err
}
