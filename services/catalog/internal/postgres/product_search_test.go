package postgres_test

import (
	"fmt"
	"slices"
	"testing"

	"lavka/services/catalog/internal/catalog"
)

// found returns the titles that a search for a text finds, in the order of titles.
func (s *shop) found(t *testing.T, text string) (titles []string) {
	t.Helper()
	products, err := s.Products(t.Context(), catalog.ProductQuery{Title: catalog.Searchable(text), Sort: catalog.SortTitle, Limit: 101})
	if err != nil {
		t.Fatalf("search for %q: %v", text, err)
	}
	for _, p := range products {
		titles = append(titles, p.Title)
	}
	return titles
}

func TestSearchTakesFormsOfACharacterAsTheSame(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for _, title := range []string{"ΟΔΟΣ", "STRASSE", "CAFE\u0301", "Чай Зелёный"} {
		s.product(t, title, 100)
	}
	for text, want := range map[string]string{"οδος": "ΟΔΟΣ", "straße": "STRASSE", "caf\u00e9": "CAFE\u0301", "cafe\u0301": "CAFE\u0301", "й ЗЕЛЁ": "Чай Зелёный"} {
		if got := s.found(t, text); !slices.Equal(got, []string{want}) {
			t.Errorf("%q finds %q, want %q", text, got, want)
		}
	}
}

// Behind the first products of the list, the index of grams finds the rest: each once, in the order of the list, and on as many pages
// as it takes.
func TestSearchGoesOnBehindTheFirstProducts(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.db.Fill(t, "catalog", `
		INSERT INTO catalog.products (title, title_folded, description, price, search_title, search_grams, deleted_at)
		SELECT t, t, '', 1 + n * 7919 % 1000, t, ARRAY(SELECT DISTINCT substr(t, i, k) FROM generate_series(1, length(t)) i, generate_series(1, 3) k WHERE i + k <= length(t) + 1),
			CASE WHEN n % 900 = 0 THEN now() END
		FROM generate_series(1, 20000) n, LATERAL (SELECT CASE WHEN n % 300 = 0 THEN 'samovar ' WHEN n % 300 = 1 THEN 'rama vos ' ELSE 'tea ' END || n AS t) titles`)
	want := 0
	for n := 300; n <= 20000; n += 300 {
		if n%900 != 0 {
			want++
		}
	}
	for i, sort := range []catalog.ProductSort{catalog.SortNewest, catalog.SortTitle, catalog.SortPrice, catalog.SortPriceDescending, catalog.SortNewest, catalog.SortTitle, catalog.SortPrice, catalog.SortPriceDescending} {
		var seen []catalog.Product
		for q := (catalog.ProductQuery{Title: "samovar", Status: []catalog.ProductStatus{"", catalog.Active}[i/4], Sort: sort, Limit: 7}); ; {
			got, err := s.Products(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, got...)
			if len(got) < q.Limit {
				break
			}
			q.After = new(got[len(got)-1].Key())
		}
		ids := map[int64]bool{}
		for _, p := range seen {
			ids[p.ID] = true
		}
		if len(seen) != want || len(ids) != want || !slices.IsSortedFunc(seen, func(a, b catalog.Product) int { return inOrder(sort, a, b) }) {
			t.Errorf("by %s: %d products were found, %d different ones, want %d in order", sort, len(seen), len(ids), want)
		}
	}
	if got := s.found(t, "samovar 19500"); !slices.Equal(got, []string{"samovar 19500"}) {
		t.Errorf("one of them: %q", got)
	}
	if got := s.found(t, "samovar of nothing"); got != nil {
		t.Errorf("none of them: %q", got)
	}
}

// A page that ends early because of its bytes is followed by the next product, also where it ends among the first products of the list.
func TestSearchLeavesNothingOutOfLargePages(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.db.Fill(t, "catalog", `
		INSERT INTO catalog.products (title, title_folded, description, price, search_title, search_grams, attributes)
		SELECT t, t, '', 1, t, ARRAY(SELECT DISTINCT substr(t, i, k) FROM generate_series(1, length(t)) i, generate_series(1, 3) k WHERE i + k <= length(t) + 1),
			CASE WHEN n > 4960 THEN (SELECT json_object_agg('name ' || a, repeat('v', 200)) FROM generate_series(1, 32) a)::text ELSE '{}' END
		FROM generate_series(1, 5000) n, LATERAL (SELECT CASE WHEN n > 4960 OR n < 10 THEN 'tea' ELSE 'x' END AS t) titles`)
	ids := map[int64]bool{}
	for q := (catalog.ProductQuery{Title: "tea", Status: catalog.Active, Sort: catalog.SortNewest, Limit: 101}); ; {
		got, err := s.Products(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range got {
			ids[p.ID] = true
		}
		if len(got) == 0 {
			break
		}
		q.After = new(got[len(got)-1].Key())
	}
	if len(ids) != 49 {
		t.Errorf("%d products, want 49", len(ids))
	}
}

// The release before knows nothing of grams. What it stores or renames is found by them after MakeSearchable.
func TestTheWorkerMakesProductsSearchable(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	old := func(sql string, args ...any) { s.exec(t, sql, args...) }
	grams := func() (n int) {
		return s.number(t, `SELECT count(*) FROM catalog.products WHERE search_grams IS NOT NULL AND search_title IS NOT NULL AND deleted_at IS NULL`)
	}
	tea := s.product(t, "Tea", 100)
	old(`INSERT INTO catalog.products (title, title_folded, description, price) SELECT 'Straße ' || n, 'straße ' || n, '', 1 FROM generate_series(1, 25) n`)
	old(`UPDATE catalog.products SET title = 'Coffee', title_folded = 'coffee', version = version + 1 WHERE id = $1`, tea.ID)
	if n := grams(); n != 0 {
		t.Errorf("%d products are searchable by grams of an earlier title", n)
	}
	if got := s.found(t, "coff"); !slices.Equal(got, []string{"Coffee"}) {
		t.Errorf("among the first products, one without grams is found by its title: %q", got)
	}
	if n, err := s.Unsearchable(t.Context(), 10); err != nil || n != 10 {
		t.Errorf("%d products wait, counted up to 10 (%v)", n, err)
	}
	for _, want := range []int{20, 6, 0} {
		if made, err := s.MakeSearchable(t.Context(), 20); err != nil || made != want {
			t.Errorf("made %d products searchable, want %d (%v)", made, want, err)
		}
	}
	if n := grams(); n != 26 {
		t.Errorf("%d products are searchable, want 26", n)
	}
	if got := s.found(t, "STRASSE 7"); !slices.Equal(got, []string{"Straße 7"}) {
		t.Errorf("found %q", got)
	}
	// This release's changes of a title leave nothing to the worker, even where the grams stay the same.
	for _, title := range []string{"COFFEE", "Cocoa"} {
		if _, err := s.ChangeProduct(t.Context(), admin, tea.ID, func(p catalog.Product) (catalog.Product, bool, error) {
			return p.With(catalog.Patch{Title: &title})
		}); err != nil {
			t.Fatal(err)
		}
		if n := grams(); n != 26 {
			t.Errorf("renamed to %s: %d products are searchable, want 26", title, n)
		}
	}
	if got := fmt.Sprint(s.found(t, "coffee"), s.found(t, "cocoa")); got != "[] [Cocoa]" {
		t.Errorf("found %s", got)
	}
}

// A product that someone is changing is left for later: its title may be another one by then.
func TestTheWorkerLeavesLockedProducts(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.exec(t, `INSERT INTO catalog.products (title, title_folded, description, price) VALUES ('a', 'a', '', 1), ('b', 'b', '', 1)`)
	conn := s.admin(t)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `UPDATE catalog.products SET title = 'c', title_folded = 'c' WHERE title = 'a'`); err != nil {
		t.Fatal(err)
	}
	if made, err := s.MakeSearchable(t.Context(), 20); err != nil || made != 1 {
		t.Errorf("made %d products searchable, want 1 (%v)", made, err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if made, err := s.MakeSearchable(t.Context(), 20); err != nil || made != 1 {
		t.Errorf("made %d products searchable, want 1 (%v)", made, err)
	}
	if got := s.found(t, "c"); !slices.Equal(got, []string{"c"}) {
		t.Errorf("found %q", got)
	}
}
