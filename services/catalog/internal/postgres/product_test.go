package postgres_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
	"lavka/libs/service/bytelimit"
	"lavka/libs/service/page"
	"lavka/services/catalog/internal/catalog"
)

func TestPagesStayStableWhileProductsAreAdded(t *testing.T) {
	t.Parallel()
	for _, sort := range []catalog.ProductSort{catalog.SortNewest, catalog.SortTitle, catalog.SortPrice, catalog.SortPriceDescending} {
		t.Run(string(sort), func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			want := map[int64]bool{}
			for i := range 25 {
				// Many have equal titles and prices, so that the id decides.
				want[s.product(t, fmt.Sprint("Tea ", i%4), money.Amount(100+i%3)).ID] = true
			}
			var seen []catalog.Product
			q := catalog.ProductQuery{Sort: sort, Limit: 4}
			for {
				got, err := s.Products(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				if len(got) == 0 {
					break
				}
				seen = append(seen, got...)
				q.After = new(got[len(got)-1].Key())
				for i := range 3 { // some before the current position, some after it
					s.product(t, fmt.Sprint("tea ", i), money.Amount(99+i))
				}
				if len(seen) > 200 {
					t.Fatal("there is no last page")
				}
				if sort != catalog.SortNewest && len(seen) >= 60 {
					break // new products keep appearing after the current position
				}
			}
			ids := map[int64]bool{}
			for _, p := range seen {
				if ids[p.ID] {
					t.Errorf("product %d is listed twice", p.ID)
				}
				ids[p.ID] = true
			}
			if !slices.IsSortedFunc(seen, func(a, b catalog.Product) int { return inOrder(sort, a, b) }) {
				t.Error("not in order")
			}
			if sort == catalog.SortNewest {
				for id := range want {
					if !ids[id] {
						t.Errorf("product %d was never listed", id)
					}
				}
				if len(ids) != len(want) {
					t.Errorf("%d products listed, want the %d that existed at the start", len(ids), len(want))
				}
			}
		})
	}
}

func inOrder(sort catalog.ProductSort, a, b catalog.Product) int {
	switch x, y := a.Key(), b.Key(); sort {
	case catalog.SortTitle:
		return compare(x.Title < y.Title || (x.Title == y.Title && x.ID < y.ID))
	case catalog.SortPrice:
		return compare(x.Price < y.Price || (x.Price == y.Price && x.ID < y.ID))
	case catalog.SortPriceDescending:
		return compare(x.Price > y.Price || (x.Price == y.Price && x.ID > y.ID))
	default:
		return compare(x.ID > y.ID)
	}
}

func compare(before bool) int {
	if before {
		return -1
	}
	return 1
}

func TestSearchIsWithoutRegardToCaseAndTakesEveryCharacterAsItIs(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for _, title := range []string{"Чай Зелёный", "100% tea", "50_50", `back\slash`, "Teapot"} {
		s.product(t, title, 100)
	}
	gone := s.product(t, "old tea", 100)
	if err := s.DeleteProduct(t.Context(), admin, gone.ID, always); err != nil {
		t.Fatal(err)
	}
	for q, want := range map[string]int{"": 5, "tea": 2, "TEA": 2, "зелён": 1, "ЧАЙ": 1, "%": 1, "_": 1, `\`: 1, "nothing": 0} {
		got, err := s.Products(t.Context(), catalog.ProductQuery{Title: catalog.Searchable(q), Sort: catalog.SortTitle, Limit: 10})
		if err != nil || len(got) != want {
			t.Errorf("%q: %d found, want %d (%v)", q, len(got), want, err)
		}
	}
}

func TestChangingAProduct(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea := s.product(t, "tea", 350)
	renamed, err := s.ChangeProduct(t.Context(), admin, tea.ID, func(p catalog.Product) (catalog.Product, bool, error) {
		return p.With(catalog.Patch{Title: new("Green Tea")})
	})
	if err != nil || renamed.Title != "Green Tea" || renamed.Version != 2 || renamed.Price != 350 || !renamed.UpdatedAt.After(tea.UpdatedAt) {
		t.Errorf("%+v, %v", renamed, err)
	}
	same, err := s.ChangeProduct(t.Context(), admin, tea.ID, func(p catalog.Product) (catalog.Product, bool, error) { return p.With(catalog.Patch{}) })
	if err != nil || !reflect.DeepEqual(same, renamed) {
		t.Errorf("%+v, %v", same, err)
	}
	if got, err := s.Products(t.Context(), catalog.ProductQuery{Title: "green", Sort: catalog.SortNewest, Limit: 1}); err != nil || len(got) != 1 {
		t.Errorf("search by the new title: %v, %v", got, err)
	}
	if _, err := s.ChangeProduct(t.Context(), admin, tea.ID, func(p catalog.Product) (catalog.Product, bool, error) {
		return p, false, catalog.ErrPreconditionFailed
	}); !errors.Is(err, catalog.ErrPreconditionFailed) {
		t.Errorf("a refused change: %v", err)
	}
	if err := s.DeleteProduct(t.Context(), admin, tea.ID, always); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteProduct(t.Context(), admin, tea.ID, always); !errors.Is(err, catalog.ErrProductNotFound) {
		t.Errorf("delete again: %v", err)
	}
	if _, err := s.Product(t.Context(), tea.ID); !errors.Is(err, catalog.ErrProductNotFound) {
		t.Errorf("read: %v", err)
	}
	if _, err := s.ChangeProduct(t.Context(), admin, tea.ID, nil); !errors.Is(err, catalog.ErrProductNotFound) {
		t.Errorf("change: %v", err)
	}
}

// What does not fit on a page is not read from Postgres.
func TestProductsReadNoMoreThanAPage(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	const long = 10_000
	for range 60 {
		if _, err := s.CreateProduct(t.Context(), admin, catalog.Product{Title: "tea", Description: strings.Repeat("ж", long), Price: 1}); err != nil {
			t.Fatal(err)
		}
	}
	for _, title := range []string{"", "tea"} {
		got, err := s.Products(t.Context(), catalog.ProductQuery{Title: title, Sort: catalog.SortNewest, Limit: 50})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(got) * 2 * long; n <= page.MaxBytes || n > page.MaxBytes+3*long {
			t.Errorf("%d products with %d bytes of descriptions were read for a page of at most %d", len(got), n, page.MaxBytes)
		}
		for i := 1; i < len(got); i++ {
			if got[i].ID >= got[i-1].ID {
				t.Errorf("product %d comes after %d", got[i].ID, got[i-1].ID)
			}
		}
	}
}

// A read adds its rows to the request's claim, and is refused if there is no room.
func TestReadsOfProductsAreClaimed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p, err := s.CreateProduct(t.Context(), admin, catalog.Product{Title: "tea", Description: strings.Repeat("ж", 10_000), Price: 1})
	if err != nil {
		t.Fatal(err)
	}
	roomy := bytelimit.New(8 << 20)
	ctx := bytelimit.With(t.Context(), roomy.Claim("mira"))
	for _, title := range []string{"", "tea"} {
		before := roomy.Held()
		if _, err := s.Products(ctx, catalog.ProductQuery{Title: title, Sort: catalog.SortNewest, Limit: 2}); err != nil {
			t.Fatal(err)
		}
		if n := roomy.Held() - before; n < 20_000-bytelimit.Free {
			t.Errorf("a list claims %d bytes more", n)
		}
	}
	before := roomy.Held()
	if _, err := s.Product(ctx, p.ID); err != nil || roomy.Held() < before+20_000 {
		t.Errorf("%v; claimed are %d bytes, before %d", err, roomy.Held(), before)
	}
	full := bytelimit.With(t.Context(), bytelimit.New(8<<10).Claim("mira"))
	if _, err := s.Products(full, catalog.ProductQuery{Sort: catalog.SortNewest, Limit: 2}); problem.From(err).Code != "overloaded" {
		t.Errorf("a list without room: %v", err)
	}
	if _, err := s.Product(full, p.ID); problem.From(err).Code != "overloaded" {
		t.Errorf("a product without room: %v", err)
	}
}
