package postgres_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

// The database refuses these to the role; it does not depend on the program.
func TestTheServiceMayDoNoMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.mustPlace(t, order(1, s.product(t, "tea", 350).ID, ""))
	conn, err := pgx.Connect(t.Context(), s.db.URL("catalog"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, sql := range []string{
		`DELETE FROM catalog.purchases`,
		`TRUNCATE catalog.purchases`,
		`UPDATE catalog.purchases SET price = 1`,
		`UPDATE catalog.purchases SET title = 'x'`,
		`UPDATE catalog.purchases SET user_id = 2`,
		`UPDATE catalog.purchases SET bill_id = 2`,
		`UPDATE catalog.purchases SET created_at = now()`,
		`UPDATE catalog.purchases SET expires_at = now()`,
		`UPDATE catalog.purchases SET idempotency_key = 'x'`,
		`DELETE FROM catalog.refunds`,
		`UPDATE catalog.refunds SET amount = 1`,
		`UPDATE catalog.refunds SET bill_id = 2`,
		`UPDATE catalog.purchases SET quantity = 2`,
		`UPDATE catalog.purchases SET unit_price = 1`,
		`UPDATE catalog.purchases SET stock_taken = 2`,
		`UPDATE catalog.refunds SET restock = 2`,
		`UPDATE catalog.stock SET product_id = 2`,
		`UPDATE catalog.stock SET stock_limit = 2`,
		`TRUNCATE catalog.stock`,
		`DELETE FROM catalog.stock_changes`,
		`UPDATE catalog.stock_changes SET change = 1`,
		`INSERT INTO catalog.stock_changes (id, product_id, change, on_hand, reason) OVERRIDING SYSTEM VALUE VALUES (7, 1, 1, 1, 'x')`,
		`INSERT INTO catalog.stock_changes (product_id, change, on_hand, reason, created_at) VALUES (1, 1, 1, 'x', now())`,
		`UPDATE catalog.opened SET level = 1`,
		`DELETE FROM catalog.products`,
		`UPDATE catalog.products SET id = DEFAULT`,
		`UPDATE catalog.products SET created_at = now()`,
		`CREATE TABLE catalog.mine (id int)`,
		`DROP TABLE catalog.products`,
		`ALTER TABLE catalog.purchases DROP CONSTRAINT purchases_settled`,
		`INSERT INTO catalog.schema_version (version_id, is_applied) VALUES (99, true)`,
		`DELETE FROM catalog.log`,
		`TRUNCATE catalog.log`,
		`UPDATE catalog.log SET actor_id = 2`,
		`INSERT INTO catalog.log (at, action, subject, trace_id) VALUES (now() - interval '1 day', 'x', 'x', '')`,
		`UPDATE catalog.verifications SET difference = NULL`,
		`DELETE FROM catalog.verifications`,
		`INSERT INTO catalog.verifications (at, took) VALUES ('2099-01-01', '1s')`,
		`CREATE TABLE public.mine (id int)`,
		`CREATE SCHEMA mine`,
	} {
		_, err := conn.Exec(t.Context(), sql)
		if code := pg.Code(err); code != "42501" {
			t.Errorf("%s: %v, want a permission error", sql, err)
		}
	}
	// Constraints keep the columns of a row consistent.
	for sql, constraint := range map[string]string{
		`UPDATE catalog.purchases SET status = 'completed', settled_at = now()`: "purchases_completed",
		`UPDATE catalog.purchases SET status = 'declined', settled_at = now()`:  "purchases_declined",
		`UPDATE catalog.purchases SET settled_at = now()`:                       "purchases_settled",
		`UPDATE catalog.purchases SET status = 'lost', settled_at = now()`:      "purchases_status_check",
		`INSERT INTO catalog.stock VALUES (1, -1, 1)`:                           "stock_on_hand",
		`INSERT INTO catalog.purchases (id, user_id, product_id, title, price, bill_id, expires_at, next_send_at, unit_price, quantity) VALUES (gen_random_uuid(), 1, 1, 'x', 10, 1, now(), now(), 3, 3)`:                                "purchases_quantity",
		`INSERT INTO catalog.purchases (id, user_id, product_id, title, price, bill_id, expires_at, next_send_at, unit_price, quantity) VALUES (gen_random_uuid(), 1, 1, 'x', 1001, 1, now(), now(), 1, 1001)`:                           "purchases_quantity",
		`INSERT INTO catalog.purchases (id, user_id, product_id, title, price, bill_id, expires_at, next_send_at, unit_price, quantity, stock_taken, stock_limit) VALUES (gen_random_uuid(), 1, 1, 'x', 9, 1, now(), now(), 3, 3, 2, 1)`: "purchases_stock",
		`UPDATE catalog.products SET price = 0`: "products_price_check",
	} {
		if _, err := conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), constraint) {
			t.Errorf("%s: %v, want %s", sql, err, constraint)
		}
	}
	if stored, err := s.Purchase(t.Context(), 1, p.ID); err != nil || stored.Status != catalog.Pending {
		t.Errorf("%+v, %v", stored, err)
	}
}
