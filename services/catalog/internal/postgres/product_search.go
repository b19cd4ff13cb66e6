package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/page"
	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

// walked is how many products of a list a search looks at, one after another, before
// it asks the index of grams. A text that one product in a hundred has fills a page
// there; what is rarer, the index finds among at most some ten thousand.
const walked = 4000

// throughIndex leaves only the plan that asks the index of grams. Otherwise the
// server may walk the whole list: it supposes that the products that it looks for are
// spread evenly, and takes an array to be as cheap to look at as a number. The memory
// is for the list of their places; without it, whole pages of arrays are looked at.
const throughIndex = `SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL work_mem = '16MB'`

// productList is one sort order with the place where a page begins.
type productList struct {
	where, order string
	args         []any // of where, after $1, which is the limit
}

func productsAfter(sort catalog.ProductSort, after *catalog.ProductKey) productList {
	list := productLists[sort]
	l := productList{where: `deleted_at IS NULL`, order: list.order}
	if after != nil {
		l.where += ` AND ` + list.after
		l.args = list.position(*after)
	}
	return l
}

// and returns the list's arguments with one more, after the limit, and its number.
func (l productList) and(limit int, arg any) (args []any, number int) {
	args = append(append([]any{limit}, l.args...), arg)
	return args, len(args)
}

// search lists products whose titles contain q.Title, which is in the form of
// catalog.Searchable. It looks at the first products of the list itself, those that
// wait for their grams too, and finds the rest in the index of grams. So it reads
// little for what is frequent, and little for what is rare. What is frequent but only
// far away in the list may take longer than a search may (see [pg.Search]).
func (s *Store) search(ctx context.Context, q catalog.ProductQuery) ([]catalog.Product, error) {
	return pg.Search(ctx, s.expensive, "search products", func(ctx context.Context, tx *pg.Tx) ([]catalog.Product, error) {
		list := productsAfter(q.Sort, q.After)
		args, n := list.and(q.Limit, q.Title)
		found, err := pg.Rows(ctx, tx, "search the first products", scanProduct, withinPage(fmt.Sprintf(`
			SELECT * FROM (SELECT * FROM catalog.products WHERE %s ORDER BY %s LIMIT %d) AS first
			WHERE position($%d IN coalesce(search_title, title_folded)) > 0 LIMIT $1`, list.where, list.order, walked, n)), args...)
		if err != nil || len(found) >= q.Limit || bytesOf(found) > page.MaxBytes {
			return found, err
		}
		args, _ = list.and(walked-1, nil)
		last, err := pg.Rows(ctx, tx, "find where the search continues", scanProduct, fmt.Sprintf(`
			SELECT `+productColumns+` FROM catalog.products WHERE %s ORDER BY %s LIMIT 1 OFFSET $1`, list.where, list.order), args[:len(args)-1]...)
		if err != nil || len(last) == 0 {
			return found, err
		}
		if _, err := tx.Exec(ctx, throughIndex); err != nil {
			return nil, err
		}
		list = productsAfter(q.Sort, new(last[0].Key()))
		args, n = list.and(q.Limit-len(found), catalog.LookedUp(q.Title, s.frequencies.of))
		args = append(args, q.Title)
		more, err := pg.Rows(ctx, tx, "search by grams", scanProduct, withinPage(fmt.Sprintf(`
			SELECT * FROM catalog.products WHERE %s AND search_grams @> $%d AND position($%d IN search_title) > 0
			ORDER BY %s LIMIT $1`, list.where, n, n+1, list.order)), args...)
		return append(found, more...), err
	})
}

// bytesOf is what withinPage counts.
func bytesOf(products []catalog.Product) (sum int) {
	for _, p := range products {
		sum += len(p.Title) + len(p.Description)
	}
	return sum
}

// MakeSearchable makes what products are searched by, for at most limit products that
// lack it, the newest first, and returns for how many. Products that are locked are
// left for later.
func (s *Store) MakeSearchable(ctx context.Context, limit int) (int, error) {
	made := 0
	err := pg.InTx(ctx, s.background, func(tx *pg.Tx) error {
		type title struct {
			ID    int64
			Title string
		}
		found, err := pg.Rows(ctx, tx, "find products to make searchable", pgx.RowToStructByPos[title], `
			SELECT id, title FROM catalog.products WHERE search_grams IS NULL AND deleted_at IS NULL
			ORDER BY id DESC LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED`, limit)
		if err != nil {
			return err
		}
		slices.Reverse(found) // in the order in which others lock several
		batch := &pgx.Batch{}
		for _, p := range found {
			batch.Queue(setSearch, p.ID, p.Title, catalog.Searchable(p.Title), catalog.Grams(catalog.Searchable(p.Title)))
		}
		made = len(found)
		return tx.SendBatch(ctx, batch).Close()
	})
	return made, pg.Wrap("make products searchable", err)
}

// setSearch writes what a product is searched by, if its title is still the one that
// it was made of.
const setSearch = `UPDATE catalog.products SET search_title = $3, search_grams = $4 WHERE id = $1 AND title = $2`

// Unsearchable returns how many products lack what they are searched by, counted up
// to most.
func (s *Store) Unsearchable(ctx context.Context, most int) (int, error) {
	return pg.One(ctx, s.background, "count products that are not searchable", pgx.ErrNoRows, pgx.RowTo[int], `
		SELECT count(*) FROM (SELECT FROM catalog.products WHERE search_grams IS NULL AND deleted_at IS NULL LIMIT $1) AS waiting`, most)
}

// LearnGrams reads which grams are the most frequent, as far as the server's
// statistics know.
func (s *Store) LearnGrams(ctx context.Context) error {
	type gram struct {
		Gram      string
		Frequency float32
	}
	known, err := pg.Rows(ctx, s.background, "read the frequencies of grams", pgx.RowToStructByPos[gram], `
		SELECT gram, frequency FROM pg_stats, unnest(most_common_elems::text::text[], most_common_elem_freqs) AS common(gram, frequency)
		WHERE schemaname = 'catalog' AND tablename = 'products' AND attname = 'search_grams' AND gram IS NOT NULL`)
	if err != nil {
		return err
	}
	learned := make(map[string]float32, len(known))
	for _, g := range known {
		learned[strings.Clone(g.Gram)] = g.Frequency
	}
	s.frequencies.known.Store(&learned)
	return nil
}
