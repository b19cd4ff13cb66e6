package postgres_test

import (
	"errors"
	"reflect"
	"sync"
	"testing"

	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/postgres"
)

// A key makes one product of each admin. A repeat returns it as it was made, whatever has become of it.
func TestAKeyMakesOneProduct(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea := catalog.Product{Title: "tea", Description: "green", Price: 100, Status: catalog.Active, SKU: "tea-1", Attributes: map[string]string{"a": "1", "b": "2"}, OnHand: new(int64(5))}
	first, repeat, err := s.CreateProductOnce(t.Context(), admin, "k", tea)
	if err != nil || repeat || first.ID == 0 {
		t.Fatalf("%+v, repeat %v, %v", first, repeat, err)
	}
	if _, err := s.ChangeProduct(t.Context(), admin, first.ID, func(p catalog.Product) (catalog.Product, bool, error) {
		return p.With(catalog.Patch{Title: new("coffee")})
	}); err != nil {
		t.Fatal(err)
	}
	s.change(t, first, "sold", -2)
	again, repeat, err := s.CreateProductOnce(t.Context(), admin, "k", tea)
	if err != nil || !repeat || !again.CreatedAt.Equal(first.CreatedAt) {
		t.Errorf("repeated: %+v, repeat %v, %v", again, repeat, err)
	}
	again.CreatedAt, again.UpdatedAt = first.CreatedAt, first.UpdatedAt // the same, in another time zone
	if !reflect.DeepEqual(again.Content(), first.Content()) || again.ID != first.ID || again.Version != first.Version {
		t.Errorf("repeated: %+v, want %+v as it was made", again, first)
	}
	dear, more := tea, tea
	dear.Price, more.OnHand = 101, new(int64(6))
	for _, other := range []catalog.Product{dear, more} {
		if _, _, err := s.CreateProductOnce(t.Context(), admin, "k", other); !errors.Is(err, catalog.ErrProductKeyReused) {
			t.Errorf("other content, %+v: %v", other, err)
		}
	}
	if _, _, err := s.CreateProductOnce(t.Context(), admin, "k2", tea); !errors.Is(err, catalog.ErrSKUTaken) {
		t.Errorf("another key, the same sku: %v", err)
	}
	tea.SKU = ""
	if other, repeat, err := s.CreateProductOnce(t.Context(), admin+1, "k", tea); err != nil || repeat || other.ID == first.ID {
		t.Errorf("another admin: %+v, repeat %v, %v", other, repeat, err)
	}
	if n := s.number(t, `SELECT count(*) FROM catalog.products`); n != 2 {
		t.Errorf("%d products, want 2", n)
	}
}

func TestManyMakeAProductWithOneKeyAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	patient := s.db.URL("catalog") + "&lock_timeout=0"
	stores := []*postgres.Store{openStore(t, patient), openStore(t, patient)}
	for _, sku := range []string{"", "tea-1"} {
		var all sync.WaitGroup
		var mu sync.Mutex
		ids, made := map[int64]bool{}, 0
		for i := range 8 {
			all.Go(func() {
				p, repeat, err := stores[i%2].CreateProductOnce(t.Context(), admin, "key"+sku, catalog.Product{Title: "tea", Price: 1, Status: catalog.Active, SKU: sku})
				if err != nil {
					t.Errorf("request %d: %v", i, err)
				}
				mu.Lock()
				defer mu.Unlock()
				ids[p.ID] = true
				if !repeat {
					made++
				}
			})
		}
		all.Wait()
		if len(ids) != 1 || made != 1 {
			t.Errorf("sku %q: products %v, %d of them made", sku, ids, made)
		}
	}
}
