package postgres_test

import (
	"context"
	"testing"
	"time"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/postgres"
)

// A page of a user's pending purchases does not walk those of others, neither while
// they are pending, of which the server's statistics know nothing yet, nor after they
// were settled, while they still have entries in the index.
func TestPendingPurchasesOfOthersAreNotRead(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea := s.product(t, "tea", 350)
	s.exec(t, `ALTER TABLE catalog.purchases SET (autovacuum_enabled = off)`)
	const others = 20_000
	s.exec(t, `
		INSERT INTO catalog.purchases (id, user_id, product_id, title, price, bill_id, status, transaction_id, expires_at, settled_at, next_send_at)
		SELECT gen_random_uuid(), 1 + n % 100, 1, 'tea', 350, 7, 'completed', n, now(), now(), now() FROM generate_series(1, $1::bigint) n`, others)
	s.exec(t, `ANALYZE catalog.purchases`)
	s.exec(t, `
		INSERT INTO catalog.purchases (id, user_id, product_id, title, price, bill_id, expires_at, next_send_at)
		SELECT gen_random_uuid(), 1 + n % 100, 1, 'tea', 350, 7, now() + interval '1 hour', now() FROM generate_series(1, $1::bigint) n`, others)
	own := s.mustPlace(t, order(500, tea.ID, ""))

	w := pgtest.NewWatch(t, s.db)
	pools := pg.OnePool(w.Pool(t, openPool(t, s.db.URL("catalog"), pg.Open), nil))
	t.Cleanup(pools.Close)
	store := postgres.New(pools, openPool(t, s.db.URL("catalog"), pg.OpenForGroups), postgres.Terms{Wait: time.Hour, Expiry: time.Hour})
	const most = 20
	page := pgtest.Read{Method: "Purchases", Case: "others are pending", Most: most, Rows: 1, Run: func(ctx context.Context) (int, error) {
		found, err := store.Purchases(ctx, catalog.PurchaseQuery{UserID: 500, Status: catalog.Pending, Limit: pageSize})
		if err == nil && (len(found) != 1 || found[0].ID != own.ID) {
			t.Errorf("listed %+v, want purchase %s", found, own.ID)
		}
		return len(found), err
	}}
	w.Flat(t, 7, []pgtest.Read{page}) // more than five: then the server may keep a plan for all values
	s.exec(t, `UPDATE catalog.purchases SET status = 'completed', settled_at = now(), transaction_id = 1 WHERE user_id < 500`)
	page.Case = "others were pending"
	w.Flat(t, 7, []pgtest.Read{page})
}

// A user's own entries stay in the index until the next vacuum, however many they are.
func TestAPageOfPendingPurchasesIsAnExpensiveRead(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	pools, err := pg.OpenPools(t.Context(), pg.PoolsConfig{URL: s.db.URL("catalog"), Service: "catalog", Requests: 2, Caller: func(context.Context) int64 { return 1 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pools.Close)
	store := postgres.New(pools, openPool(t, s.db.URL("catalog"), pg.OpenForGroups), postgres.Terms{Wait: time.Hour, Expiry: time.Hour})
	admin := s.admin(t)
	for status, want := range map[catalog.Status]string{catalog.Pending: "catalog expensive", catalog.Completed: "catalog", catalog.Declined: "catalog", "": "catalog"} {
		if _, err := store.Purchases(t.Context(), catalog.PurchaseQuery{UserID: 1, Status: status, Limit: pageSize}); err != nil {
			t.Fatal(err)
		}
		var session string
		err := admin.QueryRow(t.Context(), `
			SELECT application_name FROM pg_stat_activity
			WHERE datname = current_database() AND query LIKE '%FROM catalog.purchases%' AND pid <> pg_backend_pid() ORDER BY state_change DESC LIMIT 1`).Scan(&session)
		if err != nil || session != want+pg.ReleaseMark() {
			t.Errorf("status %q was read in session %q, %v; want %q", status, session, err, want)
		}
	}
}
