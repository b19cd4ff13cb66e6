package postgres_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/filter"
	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
	"lavka/libs/service/adminlog"
	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/postgres"
)

var rows = flag.Int("rows", 1_000_000, "rows that TestReadsAreFlat stores")

const busy = 500 // the user who owns 6 of 10 purchases, all older than those of the other 999 users

// exempt are the methods of Store that TestReadsAreFlat does not call, and why.
var exempt = map[string]string{
	"SettledOf":         "runs in the background, once a second; it reads at most 256 rows by their keys",
	"CreateProductOnce": "writes a row of each of two tables, by its key",
	"MakeSearchable":    "runs in the background; it writes fifty rows, and an index has those that it looks for",
	"Unsearchable":      "runs in the background while MakeSearchable has work; it counts up to 10,000", "LearnGrams": "runs in the background, once a minute; it reads statistics",
	"CreateProduct": "writes one row", "ChangeProduct": "writes one row, by its key", "DeleteProduct": "writes one row, by its key",
	"PutProduct":  "writes one row, by its key",
	"ChangeStock": "writes two rows, by their keys", "LiftStock": "writes two rows, by their keys",
	"RecordVerification": "writes one row", "Verified": "an operator's command; the newest row by its key", "Verifications": "runs in the background; the newest row by its key",
	"Verify": "an operator's command", "Books": "an operator's command that prints all purchases of a time",
	"OldestPending":        "an operator's command; it counts all pending purchases, which are limited",
	"PendingRefundMetrics": "runs in the background, every 15 seconds; it counts the pending refunds",
	"Pending":              "runs in the background, once a second; it counts all pending purchases, which are limited",
}

// What a request reads does not depend on how much is stored, by anyone, nor on the
// place in the list that its cursor claims: not with a plan for these values, and not
// with the plan that Postgres keeps for all values.
func TestReadsAreFlat(t *testing.T) {
	// Not parallel: it keeps the server busy, and the tests beside it have time limits.
	s := newShop(t)
	purchases, products := *rows*6/10, *rows*4/10
	// The busy user's purchases: 500 pending, 500 completed, then only declined ones. The newest half of the products is deleted; of the others the
	// newest half is archived, and the oldest but one are drafts, 500 of them.
	s.db.Fill(t, postgres.Schema, fmt.Sprintf(`
		INSERT INTO catalog.products (title, title_folded, description, price, deleted_at, status, sku)
		SELECT 'Tea ' || n, 'tea ' || md5(n::text), '', 1 + n * 7919 %% 100000, CASE WHEN n > %[1]d / 2 THEN now() END,
			CASE WHEN n BETWEEN 2 AND 501 THEN 'draft' WHEN n > %[1]d / 4 THEN 'archived' ELSE 'active' END, 'TEA-' || n
		FROM generate_series(1, %[1]d::bigint) n`, products), fmt.Sprintf(`
		INSERT INTO catalog.purchases (id, user_id, idempotency_key, product_id, title, price, bill_id, status, decline_reason, transaction_id, expires_at, settled_at, next_send_at, created_at)
		SELECT %[2]s, CASE WHEN n <= %[1]d * 6 / 10 THEN %[3]d ELSE 1 + (n %% 999 + %[3]d) %% 1000 END, CASE WHEN n %% 2 = 0 THEN 'key ' || n END, 1, 'Tea', 1, 7,
			status, CASE status WHEN 'declined' THEN 'insufficient_funds' END, CASE status WHEN 'completed' THEN n END, now(), CASE WHEN status <> 'pending' THEN now() END, now(), to_timestamp(1700000000 + n)
		FROM generate_series(1, %[1]d::bigint) n, LATERAL (SELECT CASE WHEN n <= 500 THEN 'pending' WHEN n <= 1000 OR n > %[1]d * 6 / 10 THEN 'completed' ELSE 'declined' END AS status) kind`,
		purchases, idSQL, busy), fmt.Sprintf(`
		INSERT INTO catalog.refunds (id, purchase_id, idempotency_key, user_id, bill_id, amount, reason, note, force, admin_id, status, decline_reason, transaction_id, settled_at, next_send_at)
		SELECT gen_random_uuid(), %[2]s, 'key ' || k, 1, 7, 1, 'x', '', false, 1, status, CASE status WHEN 'declined' THEN 'bill_owes' END, CASE status WHEN 'completed' THEN n * 100 + k END,
			CASE WHEN status <> 'pending' THEN now() END, now()
		FROM generate_series(%[1]d * 9 / 10, %[1]d::bigint) n, generate_series(1, CASE WHEN n %% 1000 = 0 THEN 50 ELSE 2 END) k,
			LATERAL (SELECT CASE WHEN n %% 1000 = 1 THEN 'pending' WHEN k = 1 THEN 'completed' ELSE 'declined' END AS status) kind`, purchases, idSQL), fmt.Sprintf(`
		INSERT INTO catalog.stock (product_id, on_hand, stock_limit) SELECT n * 2, 1000, n FROM generate_series(1, %[1]d) n`, products/4), fmt.Sprintf(`
		INSERT INTO catalog.log (actor_id, action, subject, trace_id) SELECT 1, 'product.change', 'product/' || n %% 1000, '' FROM generate_series(1, %d) n`, *rows/10))
	w := pgtest.NewWatch(t, s.db)
	like, groups := openPool(t, s.db.URL("catalog"), pg.Open), openPool(t, s.db.URL("catalog"), pg.OpenForGroups)
	measured := map[string]int{}
	for mode, times := range map[string]int{"auto": 10, "force_custom_plan": 2, "force_generic_plan": 2} {
		pools := pg.OnePool(w.Pool(t, like, map[string]string{"plan_cache_mode": mode}))
		store := postgres.New(pools, w.Pool(t, groups, nil), postgres.Terms{Wait: time.Hour, Expiry: time.Hour})
		for method, buffers := range w.Flat(t, times, reads(store, purchases, products)) {
			measured[method] = max(measured[method], buffers)
		}
		pools.Close()
	}
	pgtest.Covered(t, reflect.TypeFor[*postgres.Store](), measured, exempt)
	for _, method := range slices.Sorted(maps.Keys(measured)) {
		t.Logf("%s reads at most %d buffers", method, measured[method])
	}
}

// idSQL is the id of purchase n, as SQL; id is the same in Go.
const idSQL = `(lpad(to_hex(1700000000000 + 1000 * n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid`

func id(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("%012x70008000%012x", 1700000000000+1000*n, n))
}

const pageSize = 20

func reads(store *postgres.Store, purchases, products int) []pgtest.Read {
	const inPage = 60 // buffers: each of 20 rows on a page of its own, perhaps behind a dead entry, and the way through the index
	var all []pgtest.Read
	add := func(method, what string, most, want int, run func(context.Context) (int, error)) {
		all = append(all, pgtest.Read{Method: method, Case: what, Most: most, Rows: want, Run: run})
	}
	// Of each list: the first page, one in the middle, the last one, and cursors that no page has.
	list := func(q catalog.PurchaseQuery, want int, before ...uuid.UUID) {
		q.Limit = pageSize
		run := func(q catalog.PurchaseQuery) func(context.Context) (int, error) {
			return func(ctx context.Context) (int, error) { found, err := store.Purchases(ctx, q); return len(found), err }
		}
		what := fmt.Sprintf("user %d, status %q", q.UserID, q.Status)
		add("Purchases", what+", first page", inPage, want, run(q))
		for _, cursor := range before {
			q.Before = &cursor
			add("Purchases", fmt.Sprint(what, ", before ", cursor), inPage, want, run(q))
		}
		forged := uuid.Nil
		q.Before = &forged
		add("Purchases", what+", before the first id of all", inPage, 0, run(q))
	}
	end := uuid.Max
	list(catalog.PurchaseQuery{UserID: busy}, pageSize, id(purchases/3), id(pageSize+1), end)
	list(catalog.PurchaseQuery{UserID: busy, Status: catalog.Pending}, pageSize, id(250), id(pageSize+1), end)
	list(catalog.PurchaseQuery{UserID: busy, Status: catalog.Completed}, pageSize, id(750), id(500+pageSize+1), end)
	list(catalog.PurchaseQuery{UserID: busy, Status: catalog.Declined}, pageSize, id(purchases/3), id(1000+pageSize+1), end)
	list(catalog.PurchaseQuery{UserID: 1}, pageSize, end)
	list(catalog.PurchaseQuery{UserID: 1, Status: catalog.Declined}, 0, id(purchases/3), end)
	list(catalog.PurchaseQuery{UserID: 5000}, 0, end)

	// In a range of time: its first page, its last one, and pages of ranges that have none; and the rows of the margin beside the range, one a second.
	const beside = 40
	at := func(n int) *time.Time { return new(time.Unix(1700000000+int64(n), 0)) }
	ranges := func(method, what string, run func(context.Context, filter.Range, *uuid.UUID) (int, error), first, last int) {
		middle := (first + last) / 2
		for where, c := range map[string]struct {
			r      filter.Range
			want   int
			cursor int
		}{
			"all": {filter.Range{From: at(first), To: at(last)}, pageSize, middle}, "the middle": {filter.Range{From: at(middle - 1000), To: at(middle + 1000)}, pageSize, middle},
			"the newest": {filter.Range{From: at(middle)}, pageSize, last - pageSize}, "the oldest": {filter.Range{To: at(middle)}, pageSize, first + pageSize}, "ten seconds": {filter.Range{From: at(middle), To: at(middle + 10)}, 10, middle + 10},
			"before all": {filter.Range{From: at(-5000), To: at(-4000)}, 0, middle}, "after all": {filter.Range{From: at(purchases + 4000), To: at(purchases + 5000)}, 0, middle},
			"any time": {filter.Range{From: new(time.Time{}), To: at(1 << 40)}, pageSize, middle}, "before time": {filter.Range{To: new(time.Time{})}, 0, middle},
		} {
			most := inPage + beside
			if where == "ten seconds" { // the rest of the page, and then what is within the margin
				most = inPage + 200
			}
			add(method, what+", "+where, most, c.want, func(ctx context.Context) (int, error) { return run(ctx, c.r, nil) })
			if c.want > 0 {
				add(method, fmt.Sprint(what, ", ", where, ", before ", c.cursor), most, c.want, func(ctx context.Context) (int, error) { return run(ctx, c.r, new(id(c.cursor))) })
			}
		}
	}
	for status, first := range map[catalog.Status]int{"": 1, catalog.Declined: 1001} {
		ranges("Purchases", fmt.Sprintf("of a time, status %q", status), func(ctx context.Context, r filter.Range, before *uuid.UUID) (int, error) {
			found, err := store.Purchases(ctx, catalog.PurchaseQuery{UserID: busy, Status: status, When: r, Before: before, Limit: pageSize})
			return len(found), err
		}, first, purchases*6/10)
	}
	everyone := func(what string, f catalog.PurchaseFilter, last int) {
		f.Limit = pageSize
		run := func(ctx context.Context, r filter.Range, before *uuid.UUID) (int, error) {
			f.When, f.Before = r, before
			found, err := store.AllPurchases(ctx, f)
			return len(found), err
		}
		ranges("AllPurchases", what, run, 1, last)
		for cursor, want := range map[uuid.UUID]int{end: pageSize, id(last / 2): pageSize, id(pageSize + 1): pageSize, uuid.Nil: 0} {
			add("AllPurchases", fmt.Sprint(what, ", before ", cursor), inPage, want, func(ctx context.Context) (int, error) { return run(ctx, filter.Range{}, &cursor) })
		}
		add("AllPurchases", what+", first page", inPage, pageSize, func(ctx context.Context) (int, error) { return run(ctx, filter.Range{}, nil) })
	}
	everyone("all", catalog.PurchaseFilter{}, purchases)
	everyone("busy user", catalog.PurchaseFilter{UserID: new(int64(busy))}, purchases*6/10)
	everyone("pending", catalog.PurchaseFilter{Status: catalog.Pending}, 500)

	tea := catalog.ProductKey{ID: int64(products / 4), Title: "tea 8", Price: 50_000}
	for sort, keys := range map[catalog.ProductSort][]struct {
		what string
		key  *catalog.ProductKey
		want int
	}{
		catalog.SortNewest: {{"first page", nil, pageSize}, {"middle", &tea, pageSize}, {"last page", &catalog.ProductKey{ID: pageSize + 1}, pageSize}, {"deleted", &catalog.ProductKey{ID: int64(products)}, pageSize}, {"forged", &catalog.ProductKey{ID: math.MinInt64}, 0}},
		catalog.SortTitle: {{"first page", nil, pageSize}, {"middle", &tea, pageSize}, {"after all", &catalog.ProductKey{Title: "tea g"}, 0}, {"before all", &catalog.ProductKey{}, pageSize},
			{"forged", &catalog.ProductKey{ID: math.MaxInt64, Title: strings.Repeat("я", 600)}, 0}},
		catalog.SortPrice:           {{"first page", nil, pageSize}, {"middle", &tea, pageSize}, {"after all", &catalog.ProductKey{ID: math.MaxInt64, Price: 100_000}, 0}, {"forged", &catalog.ProductKey{ID: math.MaxInt64, Price: math.MaxInt64}, 0}},
		catalog.SortPriceDescending: {{"first page", nil, pageSize}, {"middle", &tea, pageSize}, {"after all", &catalog.ProductKey{Price: 1}, 0}, {"forged", &catalog.ProductKey{ID: math.MaxInt64, Price: math.MaxInt64}, pageSize}},
	} {
		for _, k := range keys {
			q := catalog.ProductQuery{Sort: sort, After: k.key, Limit: pageSize}
			add("Products", fmt.Sprintf("by %s, %s", sort, k.what), inPage, k.want, func(ctx context.Context) (int, error) {
				found, err := store.Products(ctx, q)
				return len(found), err
			})
		}
		// Those of a status, however many of the others are in between.
		for _, status := range []catalog.ProductStatus{catalog.Draft, catalog.Active, catalog.Archived} {
			for what, k := range map[string]*catalog.ProductKey{"first page": nil, "middle": {ID: int64(products) * 3 / 8, Title: "tea 8", Price: 50_000}} {
				q := catalog.ProductQuery{Status: status, Sort: sort, After: k, Limit: pageSize}
				add("Products", fmt.Sprintf("%s by %s, %s", status, sort, what), inPage, pageSize, func(ctx context.Context) (int, error) {
					found, err := store.Products(ctx, q)
					return len(found), err
				})
			}
		}
	}
	for _, subject := range []string{"", "product/7"} {
		for below, want := range map[int64]int{math.MaxInt64: pageSize, int64(*rows / 20): pageSize, math.MinInt64: 0} {
			add("Log", fmt.Sprintf("of %q, below %d", subject, below), inPage, want, func(ctx context.Context) (int, error) {
				found, err := store.Log(ctx, adminlog.Query{Subject: subject, Below: &below}, pageSize)
				return len(found), err
			})
		}
	}
	const one = 10 // buffers: one row by its key
	add("Product", "in the middle", one, 1, func(ctx context.Context) (int, error) { _, err := store.Product(ctx, tea.ID); return 1, err })
	add("ProductBySKU", "in the middle", one, 1, func(ctx context.Context) (int, error) {
		_, err := store.ProductBySKU(ctx, fmt.Sprint("TEA-", tea.ID))
		return 1, err
	})
	add("Purchases", "with a key", one, 1, func(ctx context.Context) (int, error) {
		found, err := store.Purchases(ctx, catalog.PurchaseQuery{UserID: busy, Key: "key 2000", Limit: pageSize})
		return len(found), err
	})
	add("Purchase", "in the middle", one, 1, func(ctx context.Context) (int, error) {
		_, err := store.Purchase(ctx, busy, id(purchases/3))
		return 1, err
	})
	add("InspectPurchase", "in the middle", one, 1, func(ctx context.Context) (int, error) {
		_, err := store.InspectPurchase(ctx, id(purchases/3))
		return 1, err
	})
	add("Due", "20 of 500", 2000, pageSize, func(ctx context.Context) (int, error) {
		due, err := store.Due(ctx, pageSize, func(int) time.Duration { return 0 })
		return len(due), err
	})
	add("Stock", "in the middle", one, 1, func(ctx context.Context) (int, error) { _, err := store.Stock(ctx, 2); return 1, err })
	place := func(ctx context.Context, product int64, key string) (catalog.Placement, error) {
		group := catalog.NewOrders([]catalog.Order{order(busy, product, key)}, catalog.NewBacklog(catalog.Limits{Pending: 1000, PendingPerUser: 1000, StockPerUser: 1000}), lenient())
		store.Place(ctx, group)
		placed := group.Placements()[0]
		return placed, placed.Err
	}
	const write = 120 // buffers: a row and its entries in all indexes
	add("Place", "a repeat", write, 1, func(ctx context.Context) (int, error) {
		placed, err := place(ctx, 1, "key 2000")
		if placed.Purchase.ID != id(2000) {
			err = fmt.Errorf("placed %v, %w", placed, err)
		}
		return 1, err
	})
	var last uuid.UUID
	add("Place", "a new key", write, 1, func(ctx context.Context) (int, error) {
		placed, err := place(ctx, 1, uuid.NewString())
		last = placed.Purchase.ID
		return 1, err
	})
	const limited = 502 // the first one on sale that has a limit; the busy user's pending purchases, which are of another product, are not read
	add("Place", "a product with limited stock", write, 1, func(ctx context.Context) (int, error) {
		placed, err := place(ctx, limited, uuid.NewString())
		if placed.Purchase.StockTaken != 1 {
			err = fmt.Errorf("it took nothing of the stock: %w", err)
		}
		return 1, err
	})
	add("Settle", "an answer", write, 1, func(ctx context.Context) (int, error) {
		balance := money.Amount(0)
		settled, err := store.Settle(ctx, []catalog.Answer{{PurchaseID: last, Status: catalog.Declined, Reason: catalog.InsufficientFunds, Balance: &balance}})
		return len(settled.Written) + len(settled.Before), err
	})
	refunded := purchases / 1000 * 1000 // it has 50 refunds
	for _, owner := range []int64{0, busy + 1} {
		want := 0
		if owner == 0 {
			want = pageSize
		}
		add("RefundsOf", fmt.Sprint("user ", owner), inPage, want, func(ctx context.Context) (int, error) {
			found, err := store.RefundsOf(ctx, owner, catalog.RefundQuery{PurchaseID: id(refunded), Limit: pageSize})
			if owner != 0 && errors.Is(err, catalog.ErrPurchaseNotFound) {
				err = nil
			}
			return len(found), err
		})
	}
	for what, after := range map[string]*uuid.UUID{"first page": nil, "forged": {}} {
		for _, status := range []catalog.Status{catalog.Pending, ""} {
			add("AllRefunds", fmt.Sprintf("status %q, %s", status, what), inPage, pageSize, func(ctx context.Context) (int, error) {
				found, err := store.AllRefunds(ctx, catalog.RefundFilter{Status: status, After: after, Limit: pageSize})
				return len(found), err
			})
		}
	}
	add("DueRefunds", "20 of some hundred", 2000, pageSize, func(ctx context.Context) (int, error) {
		due, err := store.DueRefunds(ctx, pageSize, func(int) time.Duration { return 0 })
		return len(due), err
	})
	var placed catalog.Refund
	add("PlaceRefund", "a new one, beside 50", 2*write, 1, func(ctx context.Context) (int, error) {
		var err error
		r := catalog.Refund{ID: uuid.New(), PurchaseID: id(refunded), Key: uuid.NewString(), Reason: "x"}
		if placed, _, err = store.PlaceRefund(ctx, r); problem.From(err).Code == "refund_exceeds" {
			return 1, nil // nothing is left
		}
		return 1, err
	})
	add("SettleRefunds", "an answer", write, 1, func(ctx context.Context) (int, error) {
		found, err := store.SettleRefunds(ctx, []catalog.RefundAnswer{{RefundID: placed.ID, Status: catalog.Declined, Declined: catalog.BillOwes}})
		return max(1, len(found)), err
	})
	return all
}
