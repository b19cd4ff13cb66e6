package postgres_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/postgres"
)

func TestAPlacedPurchaseIsASnapshot(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea := s.product(t, "tea", 350)
	o := order(1, tea.ID, "k")
	o.ExpectedPrice = new(money.Amount(350))
	p := s.mustPlace(t, o)
	if p.ID != o.ID || p.Title != "tea" || p.Price != 350 || p.Status != catalog.Pending || p.BillID != 7 || p.UserID != 1 {
		t.Errorf("placed %+v", p)
	}
	if p.ExpiresAt.Sub(p.CreatedAt) != 15*time.Minute {
		t.Errorf("expires %v after its creation", p.ExpiresAt.Sub(p.CreatedAt))
	}
	if _, err := s.ChangeProduct(t.Context(), admin, tea.ID, func(p catalog.Product) (catalog.Product, bool, error) {
		p.Title, p.Price = "coffee", 900
		return p, true, nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteProduct(t.Context(), admin, tea.ID, always); err != nil {
		t.Fatal(err)
	}
	stored, err := s.Purchase(t.Context(), 1, p.ID)
	if err != nil {
		t.Fatal(err)
	}
	if stored.Title != "tea" || stored.Price != 350 || stored.Key != "k" || *stored.ExpectedPrice != 350 || !stored.CreatedAt.Equal(p.CreatedAt) || !stored.ExpiresAt.Equal(p.ExpiresAt) {
		t.Errorf("stored %+v", stored)
	}
	if _, err := s.Purchase(t.Context(), 2, p.ID); !errors.Is(err, catalog.ErrPurchaseNotFound) {
		t.Errorf("another user's purchase: %v", err)
	}
	again := place(t, s.Store, catalog.Order{ID: order(1, 1, "").ID, UserID: 1, ProductID: tea.ID, BillID: 7, ExpectedPrice: o.ExpectedPrice, Key: "k"})[0]
	if again.Err != nil || !again.Replayed || again.Purchase.ID != p.ID {
		t.Errorf("a repeat after the product was deleted: %+v", again)
	}
}

// A hundred orders contain one bad order of each kind: only those are refused.
func TestABadOrderDoesNotHarmItsGroup(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea, gone := s.product(t, "tea", 350), s.product(t, "gone", 100)
	if err := s.DeleteProduct(t.Context(), admin, gone.ID, always); err != nil {
		t.Fatal(err)
	}
	before := s.mustPlace(t, order(1, tea.ID, "before"))
	s.exec(t, `ALTER TABLE catalog.purchases ADD CONSTRAINT no_thirteen CHECK (bill_id <> 13)`)

	orders := make([]catalog.Order, 100)
	for i := range orders {
		orders[i] = order(int64(1+i%10), tea.ID, "")
	}
	changed := new(money.Amount(349))
	bad := map[int]struct {
		change func(*catalog.Order)
		code   string
	}{
		3:  {func(o *catalog.Order) { o.ProductID = 999_999 }, "product_not_found"},
		17: {func(o *catalog.Order) { o.ProductID = gone.ID }, "product_not_found"},
		31: {func(o *catalog.Order) { o.ExpectedPrice = changed }, "price_changed"},
		47: {func(o *catalog.Order) { o.UserID, o.Key, o.BillID = 1, "before", 8 }, "idempotency_key_reused"},
		53: {func(o *catalog.Order) { o.UserID, o.Key, o.BillID = 4, "twice", 9 }, "idempotency_key_reused"},
		99: {func(o *catalog.Order) { o.BillID = 13 }, "internal"},
	}
	for i, b := range bad {
		b.change(&orders[i])
	}
	orders[50].UserID, orders[50].Key = 4, "twice" // the first with its key
	orders[60].UserID, orders[60].Key = 4, "twice" // joins it
	orders[70].UserID, orders[70].Key = 1, "before"

	placements := place(t, s.Store, orders...)
	for i, p := range placements {
		if b, ok := bad[i]; ok {
			if p.Err == nil || problem.From(p.Err).Code != b.code {
				t.Errorf("order %d: %v, want %s", i, p.Err, b.code)
			}
			continue
		}
		if p.Err != nil || p.Purchase.Status != catalog.Pending {
			t.Errorf("order %d: %+v", i, p)
		}
		if want := i == 60 || i == 70; p.Replayed != want {
			t.Errorf("order %d: replayed %v, want %v", i, p.Replayed, want)
		}
	}
	if placements[60].Purchase.ID != placements[50].Purchase.ID || placements[70].Purchase.ID != before.ID {
		t.Error("a repeat got another purchase")
	}
	// 100 orders minus 6 bad ones and 2 repeats, plus the one from before.
	if n := s.number(t, `SELECT count(*) FROM catalog.purchases`); n != 93 {
		t.Errorf("%d purchases, want 93", n)
	}
}

func TestTwoReplicasWithTheSameKeysMakeOnePurchaseOfEach(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea := s.product(t, "tea", 350)
	const keys, groups = 50, 8
	replicas := []*postgres.Store{s.Store, openStore(t, s.db.URL("catalog"))}
	results := make([][]catalog.Placement, groups)
	var all sync.WaitGroup
	for g := range groups {
		orders := make([]catalog.Order, keys)
		for i := range orders {
			k := (i*7 + g*13) % keys // each group has the keys in a different order
			orders[i] = order(int64(1+k%3), tea.ID, fmt.Sprint("key", k))
		}
		all.Go(func() { results[g] = place(t, replicas[g%2], orders...) })
	}
	all.Wait()
	made := 0
	for g, placements := range results {
		for i, p := range placements {
			if p.Err != nil {
				t.Errorf("group %d order %d: %v", g, i, p.Err)
			}
			if !p.Replayed {
				made++
			}
		}
	}
	if n := s.number(t, `SELECT count(*) FROM catalog.purchases`); n != keys || made != keys {
		t.Errorf("%d purchases, %d returned as new, want %d", n, made, keys)
	}
}

func TestOverloadLeavesNoRowAndSparesRepeats(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea := s.product(t, "tea", 350)
	first := s.mustPlace(t, order(1, tea.ID, "k"))
	backlog := catalog.NewBacklog(catalog.Limits{Pending: 2, PendingPerUser: 1})
	group := catalog.NewOrders([]catalog.Order{order(1, tea.ID, "k"), order(1, tea.ID, ""), order(1, tea.ID, "other"), order(2, tea.ID, ""), order(3, tea.ID, "")}, backlog, lenient())
	s.Place(t.Context(), group)
	got := group.Placements()
	if got[0].Err != nil || got[0].Purchase.ID != first.ID {
		t.Errorf("the repeat: %+v", got[0])
	}
	for i, want := range []string{"", "", "overloaded", "", "overloaded"} {
		code := ""
		if got[i].Err != nil {
			code = problem.From(got[i].Err).Code
		}
		if code != want {
			t.Errorf("order %d: %q, want %q", i, code, want)
		}
	}
	if n := s.number(t, `SELECT count(*) FROM catalog.purchases`); n != 3 {
		t.Errorf("%d purchases, want 3", n)
	}
}
