package postgres_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
	"lavka/libs/service/adminlog"
	"lavka/services/catalog/internal/catalog"
)

// Every change of a product has one entry, in the transaction of the change; what
// changes nothing has none.
func TestProductsInTheAdminsLog(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	long := strings.Repeat("ж", 300)
	tea, err := s.CreateProduct(t.Context(), admin, catalog.Product{Title: "tea", Description: long, Price: 990})
	if err != nil {
		t.Fatal(err)
	}
	change := func(id int64, p catalog.Patch) error {
		_, err := s.ChangeProduct(t.Context(), 7, id, func(was catalog.Product) (catalog.Product, bool, error) { return was.With(p) })
		return err
	}
	for _, p := range []catalog.Patch{{Title: new("green tea")}, {Title: new("green tea")}, {}} {
		if err := change(tea.ID, p); err != nil {
			t.Fatal(err)
		}
	}
	refused := errors.New("refused")
	if _, err := s.ChangeProduct(t.Context(), 7, tea.ID, func(p catalog.Product) (catalog.Product, bool, error) { return p, true, refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	if err := s.DeleteProduct(t.Context(), 7, tea.ID, func(catalog.Product) error { return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	if err := s.DeleteProduct(t.Context(), 7, tea.ID, always); err != nil {
		t.Fatal(err)
	}
	if err := change(tea.ID, catalog.Patch{Title: new("x")}); !errors.Is(err, catalog.ErrProductNotFound) {
		t.Error(err)
	}
	s.product(t, "coffee", 1)

	entries, err := s.Log(t.Context(), adminlog.Query{Subject: fmt.Sprintf("product/%d", tea.ID)}, 10)
	if err != nil {
		t.Fatal(err)
	}
	cut := strings.Repeat("ж", 199) + "…"
	want := []string{
		`7 product.delete {"description":"` + cut + `","price":9.90,"status":"active","title":"green tea"} null`,
		`7 product.change {"title":"tea"} {"title":"green tea"}`,
		`99 product.create null {"description":"` + cut + `","price":9.90,"status":"active","title":"tea"}`,
	}
	if len(entries) != len(want) {
		t.Fatalf("%d entries, want %d", len(entries), len(want))
	}
	for i, e := range entries {
		members := func(m map[string]any) string { text, _ := json.Marshal(m); return string(text) }
		if got := fmt.Sprint(*e.Actor, " ", e.Action, " ", members(e.Before), " ", members(e.After)); got != want[i] {
			t.Errorf("entry %d: %s, want %s", i, got, want[i])
		}
	}
	if all, err := s.Log(t.Context(), adminlog.Query{}, 10); err != nil || len(all) != 4 {
		t.Errorf("%d entries in all, want 4: %v", len(all), err)
	}
	if older, err := s.Log(t.Context(), adminlog.Query{Below: &entries[0].ID}, 10); err != nil || len(older) != 2 {
		t.Errorf("%d entries before the last of the tea, want 2: %v", len(older), err)
	}
	// A change whose entry can't be written does not happen.
	if _, err := s.owner.Exec(t.Context(), `REVOKE INSERT (action) ON catalog.log FROM catalog`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateProduct(t.Context(), admin, catalog.Product{Title: "cocoa", Price: 1}); err == nil {
		t.Error("a product was created without an entry")
	}
	if n := s.number(t, `SELECT count(*) FROM catalog.products WHERE title = 'cocoa'`); n != 0 {
		t.Errorf("%d products without an entry", n)
	}
}

// A refund has one entry, however often it is asked for; a refusal has none.
func TestRefundsInTheAdminsLog(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.sold(t)
	r := s.refund(t, p, "a", 100)
	again := r
	again.ID = uuid.Must(uuid.NewV7())
	if _, repeat, err := s.PlaceRefund(t.Context(), again); err != nil || !repeat {
		t.Errorf("repeat %v, %v", repeat, err)
	}
	beyond := r
	beyond.ID, beyond.Key, beyond.Asked, beyond.Amount = uuid.Must(uuid.NewV7()), "b", new(money.Amount(300)), 300
	if _, _, err := s.PlaceRefund(t.Context(), beyond); problem.From(err).Code != "refund_exceeds" {
		t.Error(err)
	}
	entries, err := s.Log(t.Context(), adminlog.Query{Subject: "purchase/" + p.ID.String()}, 10)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d entries, want 1: %v", len(entries), err)
	}
	if e := entries[0]; *e.Actor != 9 || e.Action != "refund.create" || e.Before != nil || fmt.Sprint(e.After["amount"]) != "1" || e.After["refund_id"] != r.ID.String() {
		t.Errorf("%+v", e)
	}
}
