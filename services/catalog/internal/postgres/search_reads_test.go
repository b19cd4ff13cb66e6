package postgres_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/domain/problem"
	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/postgres"
)

// A search reads a bounded number of buffers, whatever it is for and however many products have it: the first products of the list, and
// those that the index of grams finds, of which there are few.
func TestSearchReadsLittle(t *testing.T) {
	// Not parallel: it keeps the server busy, and the tests beside it have time limits.
	s := newShop(t)
	s.fillProducts(t)
	w := pgtest.NewWatch(t, s.db)
	like := openPool(t, s.db.URL("catalog"), pg.Open)
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		pools := pg.OnePool(w.Pool(t, like, map[string]string{"plan_cache_mode": mode}))
		store := postgres.New(pools, like, postgres.Terms{})
		if err := store.LearnGrams(t.Context()); err != nil {
			t.Fatal(err)
		}
		var reads []pgtest.Read
		for q := range searches() {
			most := 20_000 // the first 4,000 products of the list, twice, and 10,000 that have the grams
			if q.Sort == catalog.SortTitle {
				most = *rows // Latin titles come before Cyrillic ones: an index is walked up to there, which looks up for each product whether it is visible
			}
			reads = append(reads, pgtest.Read{
				Method: "Products", Case: q.String(), Most: most, Rows: 1,
				Run: func(ctx context.Context) (int, error) {
					found, err := patiently(ctx, store, q.ProductQuery)
					if err == nil && q.want >= 0 && len(found) != q.want {
						err = fmt.Errorf("%d found, want %d", len(found), q.want)
					}
					return 1, err
				},
			})
		}
		for method, buffers := range w.Flat(t, 1, reads) {
			t.Logf("%s, %s: at most %d buffers", mode, method, buffers)
		}
		pools.Close()
	}
}

// Each search of TestSearchReadsLittle is sent several times, one after another.
//
//	go test -run '^$' -bench Search -benchtime 1x ./services/catalog/internal/postgres
func BenchmarkSearch(b *testing.B) {
	s := newShop(b)
	s.fillProducts(b)
	if err := s.LearnGrams(b.Context()); err != nil {
		b.Fatal(err)
	}
	var times []time.Duration
	for b.Loop() {
		for range 5 {
			for q := range searches() {
				began := time.Now()
				if _, err := s.Products(b.Context(), q.ProductQuery); err != nil {
					b.Fatalf("%s: %v", q, err)
				}
				took := time.Since(began)
				if times = append(times, took); took > 100*time.Millisecond {
					b.Logf("%s: %v", q, took)
				}
			}
		}
	}
	slices.Sort(times)
	for name, n := range map[string]int{"p50-ms": len(times) / 2, "p99-ms": len(times) * 99 / 100, "max-ms": len(times) - 1} {
		b.ReportMetric(float64(times[n].Microseconds())/1000, name)
	}
}

// fillProducts stores products that can be searched for.
func (s *shop) fillProducts(t testing.TB) {
	t.Helper()
	s.db.FillBy(t, postgres.Schema, func(ctx context.Context, conn *pgx.Conn) error {
		n := 0
		_, err := conn.CopyFrom(ctx, pgx.Identifier{"catalog", "products"}, []string{"title", "title_folded", "description", "price", "search_title", "search_grams"},
			pgx.CopyFromFunc(func() ([]any, error) {
				if n++; n > *rows {
					return nil, nil
				}
				title := titleOf(n)
				searchable := catalog.SearchableTitle(title)
				return []any{title, catalog.Fold(title), "", int64(1 + n*7919%100_000), searchable, catalog.Grams(searchable)}, nil
			}))
		return err
	})
}

// searchOf is a search, and how many products it must find; -1 means any number.
type searchOf struct {
	catalog.ProductQuery
	text string
	want int
}

func (q searchOf) String() string {
	return fmt.Sprintf("%q by %s, status %q, after %v", q.text, q.Sort, q.Status, q.After)
}

// searches yields each text in each list.
func searches() iter.Seq[searchOf] {
	return func(yield func(searchOf) bool) {
		middle := &catalog.ProductKey{ID: int64(*rows / 2), Title: "tea x", Price: 50_000}
		for text, want := range searchedTexts() {
			all := []searchOf{{catalog.ProductQuery{Sort: catalog.SortNewest}, text, want}} // as admins search
			for _, sort := range []catalog.ProductSort{catalog.SortNewest, catalog.SortTitle, catalog.SortPrice, catalog.SortPriceDescending} {
				q := catalog.ProductQuery{Status: catalog.Active, Sort: sort}
				all = append(all, searchOf{q, text, want})
				q.After = middle
				all = append(all, searchOf{q, text, -1})
			}
			for _, q := range all {
				if q.Title, q.Limit = catalog.Searchable(text), pageSize; !yield(q) {
					return
				}
			}
		}
	}
}

// searchedTexts returns texts, and how many products they find on a first page.
func searchedTexts() map[string]int {
	return map[string]int{
		"t": pageSize, " ": pageSize, "7": pageSize, "te": pageSize, "чай": pageSize, "ЧАЙ ЧЁРНЫЙ": pageSize, "tea spoon": pageSize,
		"ц": 0, "zz": 0, "щщщ": 0, "qqqqqqq": 0, "чай чай": 0, "oon tea": 0, strings.Repeat("ч", 200): 0,
		titleOf(*rows / 10 * 2): 1, titleOf(*rows/10*7 - 10): 1, fmt.Sprint(*rows / 10 * 7): 1,
		"чай чёрный серебряная ложка с узором, сто двадцать три, семь":  0, // 60 characters
		"tea spoon tea spoon tea spoon tea spoon tea spoon tea spoon t": 0, // most of its grams are frequent
	}
}

// titleOf is the title of product n. Half of them are in Cyrillic, and one in ten has a number.
func titleOf(n int) string {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	title := "Tea " + pick(r, "green", "black", "spoon")
	if n%20 >= 10 {
		title = "Чай " + pick(r, "зелёный", "чёрный", "белый")
	}
	if n%10 == 0 {
		title += fmt.Sprint(" ", n)
	}
	return title
}

func pick(r *rand.Rand, words ...string) string { return words[r.IntN(len(words))] }

// patiently searches as users do who retry. A machine that is busy with other tests may not do a statement in 150 ms.
func patiently(ctx context.Context, store *postgres.Store, q catalog.ProductQuery) ([]catalog.Product, error) {
	for tries := 1; ; tries++ {
		found, err := store.Products(ctx, q)
		if problem.From(err).Code != "overloaded" || tries == 20 {
			return found, err
		}
	}
}
