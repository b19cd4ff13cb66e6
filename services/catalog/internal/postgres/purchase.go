package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

const purchaseColumns = `id, user_id, product_id, title, price, bill_id, expected_price, coalesce(idempotency_key, ''), status,
	coalesce(decline_reason, ''), balance, transaction_id, created_at, expires_at, settled_at, trace_context,
	coalesce(refunded, 0), coalesce(unit_price, price), coalesce(quantity, 1), coalesce(stock_taken, 0), coalesce(stock_limit, 0)`

// Purchase returns one of a user's purchases, or ErrPurchaseNotFound.
func (s *Store) Purchase(ctx context.Context, userID int64, id uuid.UUID) (catalog.Purchase, error) {
	return pg.CollectOne(ctx, s.reads, "read purchase", catalog.ErrPurchaseNotFound, scanPurchase, `
		SELECT `+purchaseColumns+`
		FROM catalog.purchases
		WHERE id = $1 AND user_id = $2`, id, userID)
}

// margin is by how much the time of a purchase, which is the database's, may differ from
// that in its id, which is the replica's, taken when the order came: by the time limit
// for placing it, and by what the clocks differ.
const margin = time.Minute

// placed is when a purchase was placed, as an expression of which there are no
// statistics: where few purchases are of a time, the server would rather read all of the
// user's and sort them.
const placed = `(created_at + interval '0')`

// Purchases lists a user's purchases, newest first. The user is part of the order:
// the order by id alone would also be the primary key's, in which Postgres would
// look for the user's rows among all others (ADR 46).
func (s *Store) Purchases(ctx context.Context, q catalog.PurchaseQuery) ([]catalog.Purchase, error) {
	if q.Key != "" {
		return s.purchasesWithKey(ctx, q)
	}
	var status string
	switch q.Status { // each has an index of its own
	case "":
	case catalog.Pending:
		status = ` AND settled_at IS NULL` // see migration 00007
	case catalog.Completed:
		status = ` AND status = 'completed'`
	case catalog.Declined:
		status = ` AND status = 'declined'`
	default:
		return nil, fmt.Errorf("list purchases: unknown status %q", q.Status)
	}
	return pg.Newest(q.Limit, q.When.From, margin, placedAt, func(after *catalog.Purchase, rows int) ([]catalog.Purchase, error) {
		where, args := `user_id >= $2 AND user_id <= $2`, []any{rows, q.UserID}
		if below := lowest(q.Before, q.When.To, after); below != nil {
			where, args = `user_id >= $2 AND (user_id, id) < ($2, $3)`, append(args, *below)
		}
		if q.When.To != nil {
			args = append(args, *q.When.To)
			where += fmt.Sprintf(` AND `+placed+` < $%d`, len(args))
		}
		sql := `SELECT ` + purchaseColumns + ` FROM catalog.purchases WHERE ` + where + status + ` ORDER BY user_id DESC, id DESC`
		switch {
		case rows > pg.PageMax:
			return pg.CollectExpensive(ctx, s.expensive, "list many purchases", scanPurchase, pg.Part(sql), args...)
		case !q.When.Open():
			return pg.CollectExpensive(ctx, s.expensive, "list purchases of a time", scanPurchase, pg.Page(sql), args...)
		case q.Status == catalog.Pending: // the index keeps an entry of each purchase that was pending, until the table is vacuumed
			return pg.CollectExpensive(ctx, s.expensive, "list pending purchases", scanPurchase, pg.Page(sql), args...)
		}
		return pg.Collect(ctx, s.reads, "list purchases", scanPurchase, pg.Page(sql), args...)
	})
}

// purchasesWithKey lists the one purchase that a user has with a key, if there is one.
func (s *Store) purchasesWithKey(ctx context.Context, q catalog.PurchaseQuery) ([]catalog.Purchase, error) {
	where, args := `user_id = $2 AND idempotency_key = $3`, []any{q.Limit, q.UserID, q.Key}
	if q.Before != nil {
		where, args = where+` AND id < $4`, append(args, *q.Before)
	}
	return pg.Collect(ctx, s.reads, "find purchase with key", scanPurchase, `SELECT `+purchaseColumns+` FROM catalog.purchases WHERE `+where+` LIMIT $1`, args...)
}

// SettledOf returns those of the purchases that are settled.
func (s *Store) SettledOf(ctx context.Context, ids []uuid.UUID) ([]uuid.UUID, error) {
	return pg.Rows(ctx, s.background, "look for settled purchases", pgx.RowTo[uuid.UUID], `
		SELECT id FROM catalog.purchases WHERE id = ANY ($1) AND settled_at IS NOT NULL`, ids)
}

// AllPurchases lists purchases of all users, newest first. f must have passed its Check.
func (s *Store) AllPurchases(ctx context.Context, f catalog.PurchaseFilter) ([]catalog.Purchase, error) {
	if f.UserID != nil {
		return s.Purchases(ctx, catalog.PurchaseQuery{UserID: *f.UserID, When: f.When, Before: f.Before, Limit: f.Limit})
	}
	where, args := `true`, []any{f.Limit}
	add := func(condition string, value any) {
		args = append(args, value)
		where += fmt.Sprintf(` AND `+condition, len(args))
	}
	if below := lowest(f.Before, f.When.To, nil); below != nil {
		add(`id < $%d`, *below)
	}
	if f.When.From != nil {
		add(`id >= $%d`, idAt(f.When.From.Add(-margin)))
		add(placed+` >= $%d`, *f.When.From)
	}
	if f.When.To != nil {
		add(placed+` < $%d`, *f.When.To)
	}
	from, columns := `catalog.purchases`, purchaseColumns
	if f.Status == catalog.Pending {
		// All of them, which are limited, are read and sorted. In the order of the primary
		// key, they may be behind any number of others.
		from, columns = `pending`, `*`
	}
	sql := `SELECT ` + columns + ` FROM ` + from + ` WHERE ` + where + ` ORDER BY id DESC`
	if f.Status == catalog.Pending {
		sql = `WITH pending AS MATERIALIZED (SELECT ` + purchaseColumns + ` FROM catalog.purchases WHERE status = 'pending') ` + sql
	}
	if f.Limit > pg.PageMax {
		return pg.CollectExpensive(ctx, s.expensive, "list many purchases of all users", scanPurchase, pg.Part(sql), args...)
	}
	return pg.CollectExpensive(ctx, s.expensive, "list purchases of all users", scanPurchase, pg.Page(sql), args...)
}

func placedAt(p catalog.Purchase) time.Time { return p.CreatedAt }

// lowest returns the lowest of the ids below which a page is: of the cursor, of the end
// of a time, and of the row that was read last. It returns nil if there is none.
func lowest(cursor *uuid.UUID, to *time.Time, after *catalog.Purchase) *uuid.UUID {
	var all []uuid.UUID
	if cursor != nil {
		all = append(all, *cursor)
	}
	if to != nil {
		all = append(all, idAt(to.Add(margin)))
	}
	if after != nil {
		all = append(all, after.ID)
	}
	if len(all) == 0 {
		return nil
	}
	return new(slices.MinFunc(all, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }))
}

// idAt returns the lowest UUIDv7 of a time (RFC 9562, section 5.7).
func idAt(t time.Time) (id uuid.UUID) {
	ms := uint64(max(t.UnixMilli(), 0))
	binary.BigEndian.PutUint64(id[:8], min(ms, 1<<48-1)<<16)
	return id
}

func scanPurchase(row pgx.CollectableRow) (catalog.Purchase, error) {
	var p catalog.Purchase
	err := row.Scan(&p.ID, &p.UserID, &p.ProductID, &p.Title, &p.Amount, &p.BillID, &p.ExpectedPrice, &p.Key, &p.Status,
		&p.Reason, &p.Balance, &p.TransactionID, &p.CreatedAt, &p.ExpiresAt, &p.SettledAt, &p.Trace, &p.Refunded, &p.Price, &p.Quantity, &p.StockTaken, &p.StockLimit)
	return p, err
}
