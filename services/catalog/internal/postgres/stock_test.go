package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/postgres"
)

// limited returns a product with this many units in stock.
func (s *shop) limited(t *testing.T, units int64) catalog.Product {
	t.Helper()
	p, err := s.CreateProduct(t.Context(), admin, catalog.Product{Title: "samovar", Price: 350, OnHand: &units})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s *shop) onHand(t *testing.T, p catalog.Product) int64 {
	t.Helper()
	n, err := s.Stock(t.Context(), p.ID)
	if err != nil || n == nil {
		t.Fatalf("the stock of %d: %v, %v", p.ID, n, err)
	}
	return *n
}

// stockIs checks the stock of a product, and that it counts up.
func (s *shop) stockIs(t *testing.T, p catalog.Product, want int64) {
	t.Helper()
	if n := s.onHand(t, p); n != want {
		t.Errorf("%d in stock, want %d", n, want)
	}
	if err := s.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func several(userID, productID int64, key string, quantity int) catalog.Order {
	o := order(userID, productID, key)
	o.Quantity = quantity
	return o
}

func (s *shop) decline(t *testing.T, reason catalog.Reason, ids ...uuid.UUID) catalog.Settlement {
	t.Helper()
	var answers []catalog.Answer
	for _, id := range ids {
		answers = append(answers, catalog.Answer{PurchaseID: id, Status: catalog.Declined, Reason: reason})
	}
	settled, err := s.Settle(t.Context(), answers)
	if err != nil {
		t.Fatal(err)
	}
	return settled
}

func codes(placements []catalog.Placement) (all []string) {
	for _, p := range placements {
		code := ""
		if p.Err != nil {
			code = problem.From(p.Err).Code
		}
		all = append(all, code)
	}
	return all
}

func wantCodes(t *testing.T, placements []catalog.Placement, want ...string) {
	t.Helper()
	if got := codes(placements); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func (s *shop) change(t *testing.T, product catalog.Product, key string, change int64) {
	t.Helper()
	if _, _, err := s.ChangeStock(t.Context(), catalog.StockChange{ProductID: product.ID, Key: key, Change: change, Reason: "x", AdminID: admin}); err != nil {
		t.Fatal(err)
	}
}

func TestAPurchaseOfSeveral(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea := s.product(t, "tea", 350)
	p := s.mustPlace(t, several(1, tea.ID, "k", 3))
	stored, err := s.Purchase(t.Context(), 1, p.ID)
	if err != nil || stored.Price != 350 || stored.Quantity != 3 || stored.Amount != 1050 || stored.StockTaken != 0 {
		t.Errorf("%+v, %v", stored, err)
	}
	if n := s.number(t, `SELECT price FROM catalog.purchases WHERE unit_price = 350 AND quantity = 3`); n != 1050 {
		t.Errorf("the column price is %d: the sweeper of the release before sends it as the whole amount", n)
	}
	got := place(t, s.Store, several(1, tea.ID, "k", 3), several(1, tea.ID, "k", 2), order(1, tea.ID, "k"))
	if wantCodes(t, got, "", "idempotency_key_reused", "idempotency_key_reused"); got[0].Purchase.ID != p.ID || !got[0].Replayed {
		t.Errorf("the repeat: %+v", got[0])
	}
	// A purchase of one is written as the release before does, which it understands.
	one := s.mustPlace(t, order(2, tea.ID, "k"))
	if n := s.number(t, `SELECT num_nulls(unit_price, quantity, stock_taken, stock_limit) FROM catalog.purchases WHERE id = $1`, one.ID); n != 4 {
		t.Errorf("%d of its new columns are null", n)
	}
	if got := place(t, s.Store, several(2, tea.ID, "k", 1)); got[0].Err != nil || !got[0].Replayed {
		t.Errorf("a repeat that names the quantity: %+v", got[0])
	}
	dear := s.product(t, "palace", money.Max/999)
	wantCodes(t, place(t, s.Store, several(1, dear.ID, "", 1000), several(1, dear.ID, "", 999)), "validation_failed", "")
}

func TestStockIsTakenAndGivenBackOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	samovar, tea := s.limited(t, 5), s.product(t, "tea", 350)
	got := place(t, s.Store, several(1, samovar.ID, "a", 2), order(1, tea.ID, ""), several(2, samovar.ID, "b", 4), several(3, samovar.ID, "", 3), order(4, samovar.ID, ""))
	wantCodes(t, got, "", "", "out_of_stock", "", "out_of_stock")
	s.stockIs(t, samovar, 0)
	if wantCodes(t, place(t, s.Store, several(1, samovar.ID, "a", 2)), ""); s.onHand(t, samovar) != 0 {
		t.Error("a repeat took something")
	}
	first, second := got[0].Purchase.ID, got[3].Purchase.ID
	for range 2 {
		s.decline(t, catalog.Expired, first, got[1].Purchase.ID)
		s.stockIs(t, samovar, 2)
	}
	if _, err := s.Settle(t.Context(), []catalog.Answer{{PurchaseID: second, Status: catalog.Completed, TransactionID: new(int64(7))}, {PurchaseID: first, Status: catalog.Declined, Reason: catalog.Expired}}); err != nil {
		t.Fatal(err)
	}
	s.stockIs(t, samovar, 2)
	// out_of_stock does not use up the key.
	wantCodes(t, place(t, s.Store, several(2, samovar.ID, "b", 2)), "")
	s.stockIs(t, samovar, 0)
	s.exec(t, `UPDATE catalog.stock SET on_hand = 1`)
	if err := s.Verify(t.Context()); !errors.Is(err, postgres.ErrDifference) || !strings.Contains(err.Error(), "is 1, and its changes and purchases make 0") {
		t.Errorf("%v", err)
	}
}

// A limit that is set after an order, for the first time or once more, gets nothing from
// its decline.
func TestALimitSetAfterTheOrderMakesNoStock(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea := s.product(t, "tea", 350)
	early := s.mustPlace(t, order(1, tea.ID, ""))
	s.change(t, tea, "set", 10)
	s.decline(t, catalog.Expired, early.ID)
	s.stockIs(t, tea, 10)

	taken := s.mustPlace(t, several(1, tea.ID, "", 3))
	kept := s.mustPlace(t, several(2, tea.ID, "", 2))
	s.stockIs(t, tea, 5)
	for range 2 { // the second finds no limit
		if err := s.LiftStock(t.Context(), admin, tea.ID); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Stock(t.Context(), tea.ID); err != nil || n != nil {
		t.Errorf("after the limit was lifted: %v, %v", n, err)
	}
	free := s.mustPlace(t, several(3, tea.ID, "", 1000))
	s.change(t, tea, "again", 4)
	s.decline(t, catalog.Expired, taken.ID, kept.ID, free.ID)
	s.stockIs(t, tea, 4)
}

func TestChangesOfStock(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea := s.product(t, "tea", 350)
	change := func(key string, change int64, reason string) (catalog.StockChange, bool, string) {
		c, repeat, err := s.ChangeStock(t.Context(), catalog.StockChange{ProductID: tea.ID, Key: key, Change: change, Reason: reason, AdminID: admin})
		if err != nil {
			return c, repeat, problem.From(err).Code
		}
		return c, repeat, ""
	}
	for i, c := range []struct {
		key    string
		change int64
		reason string
		onHand int64
		repeat bool
		code   string
	}{
		{"a", -1, "x", 0, false, "stock_out_of_range"},
		{"a", 10, "a delivery", 10, false, ""},
		{"a", 10, "a delivery", 10, true, ""},
		{"a", 11, "a delivery", 0, false, "idempotency_key_reused"},
		{"a", 10, "another", 0, false, "idempotency_key_reused"},
		{"b", -4, "broken", 6, false, ""},
		{"c", -7, "broken", 0, false, "stock_out_of_range"},
		{"c", catalog.MaxStock, "x", 0, false, "stock_out_of_range"},
		{"c", -6, "x", 0, false, ""},
		{"a", 10, "a delivery", 10, true, ""},
	} {
		got, repeat, code := change(c.key, c.change, c.reason)
		if code != c.code || repeat != c.repeat || code == "" && (got.OnHand != c.onHand || got.ID == 0 || got.CreatedAt.IsZero() || got.AdminID != admin) {
			t.Errorf("%d: %+v, repeat %v, %q", i, got, repeat, code)
		}
	}
	s.stockIs(t, tea, 0)
	if n := s.number(t, `SELECT count(*) FROM catalog.log WHERE action = 'stock.change' AND subject = 'product/' || $1::bigint`, tea.ID); n != 3 {
		t.Errorf("%d entries in the admins' log", n)
	}
	if err := s.DeleteProduct(t.Context(), admin, tea.ID, always); err != nil {
		t.Fatal(err)
	}
	if _, _, code := change("d", 1, "x"); code != "product_not_found" {
		t.Errorf("of a deleted product: %q", code)
	}
	if err := s.LiftStock(t.Context(), admin, tea.ID); !errors.Is(err, catalog.ErrProductNotFound) {
		t.Errorf("of a deleted product: %v", err)
	}
}

// The pending purchases of a user hold a number of units at most, or one purchase does.
func TestUnitsOfPendingPurchasesAreLimited(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	samovar, other := s.limited(t, 1000), s.limited(t, 1000)
	wantCodes(t, place(t, s.Store, several(1, samovar.ID, "", 6), several(1, samovar.ID, "", 4), order(1, samovar.ID, "k"), several(1, other.ID, "", 50), order(1, other.ID, ""), several(2, samovar.ID, "", 10)),
		"", "", "pending_limit", "", "pending_limit", "")
	refused := place(t, s.Store, order(1, samovar.ID, "k"))
	if p := problem.From(refused[0].Err); p.Code != "pending_limit" || p.RetryAfter == 0 || p.Kind != problem.TooMany {
		t.Errorf("%+v", p)
	}
	s.stockIs(t, samovar, 980)
	held := s.number(t, `SELECT count(*) FROM catalog.purchases WHERE settled_at IS NULL AND product_id = $1 AND user_id = 1`, samovar.ID)
	if held != 2 {
		t.Fatalf("%d pending", held)
	}
	page, err := s.Purchases(t.Context(), catalog.PurchaseQuery{UserID: 1, Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range page {
		s.decline(t, catalog.Expired, p.ID)
	}
	if got := place(t, s.Store, order(1, samovar.ID, "k")); got[0].Err != nil || got[0].Replayed {
		t.Errorf("after they were settled, with the key that was not used up: %+v", got[0])
	}
}

// A refund puts units back when it is completed, once, if the product has a limit then.
func TestARefundRestocks(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	samovar := s.limited(t, 10)
	p := s.mustPlace(t, several(1, samovar.ID, "", 4))
	if _, err := s.Settle(t.Context(), []catalog.Answer{{PurchaseID: p.ID, Status: catalog.Completed, TransactionID: new(int64(3))}}); err != nil {
		t.Fatal(err)
	}
	refund := func(key string, amount money.Amount, restock int) (catalog.Refund, error) {
		r, err := catalog.NewRefund(p.ID, key, &amount, "x", "", false, restock, 9)
		if err != nil {
			t.Fatal(err)
		}
		r.ID = uuid.Must(uuid.NewV7())
		placed, _, err := s.PlaceRefund(t.Context(), r)
		return placed, err
	}
	a, err := refund("a", 350, 1)
	if err != nil {
		t.Fatal(err)
	}
	b, err := refund("b", 350, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := refund("c", 350, 1); problem.From(err).Code != "restock_exceeds" || problem.From(err).Extra["restockable"] != 0 {
		t.Errorf("more than the quantity: %v", err)
	}
	if _, err := refund("a", 350, 2); problem.From(err).Code != "idempotency_key_reused" {
		t.Errorf("the key with another restock: %v", err)
	}
	s.stockIs(t, samovar, 6)
	for range 2 {
		if _, err := s.SettleRefunds(t.Context(), []catalog.RefundAnswer{
			{RefundID: a.ID, Status: catalog.Completed, TransactionID: new(int64(4))}, {RefundID: b.ID, Status: catalog.Declined, Declined: catalog.BillOwes},
		}); err != nil {
			t.Fatal(err)
		}
		s.stockIs(t, samovar, 7)
	}
	c, err := refund("c", 350, 3) // the declined one put nothing back
	if err != nil {
		t.Fatal(err)
	}
	if err := s.LiftStock(t.Context(), admin, samovar.ID); err != nil {
		t.Fatal(err)
	}
	s.change(t, samovar, "count", 2)
	if _, err := s.SettleRefunds(t.Context(), []catalog.RefundAnswer{{RefundID: c.ID, Status: catalog.Completed, TransactionID: new(int64(5))}}); err != nil {
		t.Fatal(err)
	}
	s.stockIs(t, samovar, 5)
}
