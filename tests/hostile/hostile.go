// Package hostile is a user with a large history who sends expensive requests: lists
// with filters that match none of their rows, and searches that find nothing.
package hostile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"lavka/libs/service/pgconfig"
)

// Products and Rows are the size of a large shop and of a large history.
const (
	Products = 300_000
	Rows     = 1_000_000
)

// bill is the user's. Neither seeds nor the load of the faults use this id.
const bill = 999_999

// Fill adds products to a shop, and to a user rows purchases, all completed, and
// rows payments into a bill of their own, all a year ago. It writes to the database
// directly; over the API it would take hours. The ledger adds up, and the products can be
// searched for. Fill waits until billing knows the user.
func Fill(ctx context.Context, adminURL string, user int64, rows, products int) error {
	conn, err := pgconfig.Connect(ctx, adminURL)
	if err != nil {
		return fmt.Errorf("fill the shop: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for known := false; !known; {
		if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM billing.customers WHERE user_id = $1)`, user).Scan(&known); err != nil {
			return fmt.Errorf("wait until billing knows user %d: %w", user, err)
		}
		if !known {
			time.Sleep(10 * time.Millisecond)
		}
	}
	for _, step := range []struct{ what, sql string }{
		// The grams are those that catalog makes of a title in ASCII.
		{"products", fmt.Sprintf(`
			INSERT INTO catalog.products (title, title_folded, description, price, search_title, search_grams)
			SELECT 'Tea ' || n, folded, 'Loose leaves, 100 g', 1 + n, folded, ARRAY(
				SELECT DISTINCT substr(folded, start, size) FROM generate_series(1, length(folded)) start, generate_series(1, 3) size
				WHERE start + size <= length(folded) + 1 ORDER BY 1)
			FROM generate_series(1, %d) n, LATERAL (SELECT 'tea ' || n AS folded) title`, products)},
		{"a bill", fmt.Sprintf(`
			INSERT INTO billing.bills (id, user_id, balance, created_at) VALUES (%d, %d, %d, now() - interval '1 year')`, bill, user, rows)},
		{"payments", fmt.Sprintf(`
			INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, payment_id, created_at)
			SELECT nextval('billing.transaction_ids'), %d, %d, 1, n, 1000000000000000 + n, now() - interval '1 year' FROM generate_series(1, %d) n`, bill, user, rows)},
		{"purchases", fmt.Sprintf(`
			INSERT INTO catalog.purchases (id, user_id, product_id, title, price, bill_id, status, transaction_id, expires_at, settled_at, next_send_at)
			SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid, %d, 1, 'Tea', 1, %d, 'completed', n, now(), now(), now()
			FROM generate_series(1, %d::bigint) n`, user, bill, rows)},
		{"statistics", `ANALYZE`},
	} {
		if _, err := conn.Exec(ctx, step.sql); err != nil {
			return fmt.Errorf("fill the shop with %s: %w", step.what, err)
		}
	}
	return nil
}

// Path returns the path of one of the user's requests. No two that are in flight
// together are likely to be the same, since identical reads run once.
func Path(r *rand.Rand) string {
	switch r.IntN(3) {
	case 0:
		// Titles with this text come late in the order, and their number is small.
		return fmt.Sprintf("/products?sort=title&q=ea+9%02d", r.IntN(100))
	case 1:
		return fmt.Sprintf("/purchases?status=declined&limit=%d", 1+r.IntN(100))
	default:
		return fmt.Sprintf("/transactions?type=purchase&limit=%d", 1+r.IntN(100))
	}
}
