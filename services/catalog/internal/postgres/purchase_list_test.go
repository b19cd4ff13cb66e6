package postgres_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/filter"
	"lavka/services/catalog/internal/catalog"
)

// The times of purchases differ from those in their ids by less than the margin. Each
// list shows exactly the purchases of a time, newest first, in pages of any size.
func TestPurchasesOfATime(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	const n = 600
	s.exec(t, `
		INSERT INTO catalog.purchases (id, user_id, product_id, title, price, bill_id, status, decline_reason, transaction_id, expires_at, settled_at, next_send_at, created_at)
		SELECT `+idSQL+`, 1 + n % 2, 1, 'Tea', 1, 7, status, CASE status WHEN 'declined' THEN 'expired' END, CASE status WHEN 'completed' THEN n END, now(), CASE WHEN status <> 'pending' THEN now() END, now(),
			to_timestamp(1700000000 + n + hashint4(n) % 29)
		FROM generate_series(1, $1::int) n, LATERAL (SELECT CASE n % 7 WHEN 1 THEN 'pending' WHEN 2 THEN 'declined' ELSE 'completed' END AS status) kind`, n)
	all, err := s.AllPurchases(t.Context(), catalog.PurchaseFilter{Limit: n})
	if err != nil || len(all) != n {
		t.Fatalf("%d purchases: %v", len(all), err)
	}
	type rows struct {
		what string
		read func(context.Context, filter.Range, *uuid.UUID, int) ([]catalog.Purchase, error)
		has  func(catalog.Purchase) bool
	}
	everyone := func(what string, f catalog.PurchaseFilter, has func(catalog.Purchase) bool) rows {
		return rows{what, func(ctx context.Context, r filter.Range, before *uuid.UUID, limit int) ([]catalog.Purchase, error) {
			f.When, f.Before, f.Limit = r, before, limit
			return s.AllPurchases(ctx, f)
		}, has}
	}
	lists := []rows{
		everyone("all", catalog.PurchaseFilter{}, func(catalog.Purchase) bool { return true }),
		everyone("a user", catalog.PurchaseFilter{UserID: new(int64(1))}, func(p catalog.Purchase) bool { return p.UserID == 1 }),
		everyone("pending", catalog.PurchaseFilter{Status: catalog.Pending}, func(p catalog.Purchase) bool { return p.Status == catalog.Pending }),
	}
	for _, status := range []catalog.Status{"", catalog.Pending, catalog.Completed, catalog.Declined} {
		lists = append(lists, rows{"own, status " + string(status), func(ctx context.Context, r filter.Range, before *uuid.UUID, limit int) ([]catalog.Purchase, error) {
			return s.Purchases(ctx, catalog.PurchaseQuery{UserID: 2, Status: status, When: r, Before: before, Limit: limit})
		}, func(p catalog.Purchase) bool { return p.UserID == 2 && (status == "" || p.Status == status) }})
	}
	random := rand.New(rand.NewPCG(1, 2))
	at := func(second int) *time.Time { return new(time.Unix(1700000000+int64(second), 0)) }
	for range 12 {
		from := random.IntN(n+100) - 50
		for _, r := range []filter.Range{{}, {From: at(from)}, {To: at(from)}, {From: at(from), To: at(from + 1 + random.IntN(40))}, {From: at(from), To: at(from + 200)}} {
			for _, l := range lists {
				var want []uuid.UUID
				for _, p := range all {
					if l.has(p) && (r.From == nil || !p.CreatedAt.Before(*r.From)) && (r.To == nil || p.CreatedAt.Before(*r.To)) {
						want = append(want, p.ID)
					}
				}
				limit := 1 + random.IntN(150)
				var got []uuid.UUID
				for before := (*uuid.UUID)(nil); ; {
					page, err := l.read(t.Context(), r, before, limit)
					if err != nil {
						t.Fatal(err)
					}
					for _, p := range page {
						got = append(got, p.ID)
					}
					if len(page) < limit {
						break
					}
					before = &page[len(page)-1].ID
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s from %v to %v in pages of %d: %d purchases, want %d", l.what, r.From, r.To, limit, len(got), len(want))
				}
			}
		}
	}
	for _, when := range []time.Time{{}, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		found, err := s.AllPurchases(t.Context(), catalog.PurchaseFilter{When: filter.Range{From: &when}, Limit: n})
		if want := map[bool]int{true: n}[when.IsZero()]; err != nil || len(found) != want {
			t.Errorf("from %v: %d purchases, want %d; %v", when, len(found), want, err)
		}
	}
}
