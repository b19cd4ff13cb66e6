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

// The parts of a search, each bounded by a number of products.
const (
	// first is how many products of a list a search looks at, one after another. A text
	// that one product in a hundred has fills a page there.
	first = 4000
	// most is how many of the others a search looks at that have its grams.
	most = 10_000
	// frequent is the share of products above which a gram is too frequent to be looked
	// up: to collect the products that have it takes about as long as to pass all.
	frequent = 0.1
)

// search lists products whose titles contain q.Title, which is in the form of
// catalog.Searchable. It looks at the first products of the list itself, and so finds
// what is frequent. What is rare, the index of grams finds. What is frequent but comes
// late in the list, an index of the active products in the list's order finds, which has
// the folded titles: it is the one part whose cost grows with what is stored. Products
// that wait for their grams are found only among the first.
func (s *Store) search(ctx context.Context, q catalog.ProductQuery) ([]catalog.Product, error) {
	return pg.Search(ctx, s.expensive, "search products", func(ctx context.Context, tx *pg.Tx) ([]catalog.Product, error) {
		found, err := searchFirst(ctx, tx, q)
		bytes := bytesOf(found)
		if err != nil || len(found) >= q.Limit || bytes > page.MaxBytes {
			return found, err
		}
		where, order, args := listed(q)
		args[0] = first - 1
		last := found[max(0, len(found)-1):]
		if bytes < page.MaxBytes/2 { // otherwise the rest of the first products may not have fitted on the page
			if last, err = pg.Rows(ctx, tx, "find where the search continues", scanProduct,
				`SELECT `+productColumns+` FROM catalog.products WHERE `+where+` ORDER BY `+order+` LIMIT 1 OFFSET $1`, args...); err != nil || len(last) == 0 {
				return found, err
			}
		}
		q.After, q.Limit = new(last[0].Key()), q.Limit-len(found)
		var (
			ids   []int64
			all   bool
			grams = catalog.LookedUp(q.Title, s.frequencies.of) // the rarest first
		)
		if q.Status != catalog.Active || s.frequencies.of(grams[0]) < frequent {
			ids, all, err = searchByGrams(ctx, tx, q, grams)
		}
		if err == nil && !all {
			ids, err = searchRest(ctx, tx, q)
		}
		if err != nil || len(ids) == 0 {
			return found, err
		}
		more, err := pg.Rows(ctx, tx, "read what was found", scanProduct, withinPage(`
			SELECT * FROM catalog.products WHERE id = ANY ($1) AND deleted_at IS NULL ORDER BY `+order), ids)
		return append(found, more...), err
	})
}

// searchFirst returns what is found among the first products of a list.
func searchFirst(ctx context.Context, tx *pg.Tx, q catalog.ProductQuery) ([]catalog.Product, error) {
	where, order, args := listed(q)
	args = append(args, q.Title)
	return pg.Rows(ctx, tx, "search the first products", scanProduct, withinPage(fmt.Sprintf(`
		SELECT * FROM (SELECT * FROM catalog.products WHERE %s ORDER BY %s LIMIT %d) AS first
		WHERE position($%d IN coalesce(search_title, title_folded)) > 0 LIMIT $1`, where, order, first, len(args))), args...)
}

// searchByGrams returns the ids of the first products that have the grams and the text
// itself, and reports whether it looked at all that have the grams.
func searchByGrams(ctx context.Context, tx *pg.Tx, q catalog.ProductQuery, grams []string) (ids []int64, all bool, err error) {
	if _, err := tx.Exec(ctx, pg.ThroughBitmaps); err != nil {
		return nil, false, err
	}
	// What the list is about is asked of those that were found: together with the grams,
	// it could lead the server to another index.
	where, order, args := listed(q)
	args = append(args, q.Title, grams)
	var looked int
	err = tx.QueryRow(ctx, fmt.Sprintf(`
		WITH candidates AS MATERIALIZED (
			SELECT id, status, title_folded, price, search_title, deleted_at FROM catalog.products WHERE deleted_at IS NULL AND search_grams @> $%d LIMIT %d)
		SELECT (SELECT count(*) FROM candidates), ARRAY(SELECT id FROM candidates WHERE %s AND position($%d IN search_title) > 0 ORDER BY %s LIMIT $1)`,
		len(args), most+1, where, len(args)-1, order), args...).Scan(&looked, &ids)
	return ids, looked <= most, pg.Wrap("search by grams", err)
}

// searchRest returns the ids of what is found in the whole list.
func searchRest(ctx context.Context, tx *pg.Tx, q catalog.ProductQuery) ([]int64, error) {
	if _, err := tx.Exec(ctx, pg.AnyPlan); err != nil {
		return nil, err
	}
	active := ""
	if q.Status == catalog.Active {
		active, q.Status = `status = 'active' AND `, "" // as the index has it
	}
	where, order, args := listed(q)
	where, args = active+where, append(args, q.Title)
	return pg.Rows(ctx, tx, "search the list", pgx.RowTo[int64], fmt.Sprintf(`
		SELECT id FROM catalog.products WHERE %s AND position($%d IN search_title) > 0 ORDER BY %s LIMIT $1`, where, len(args), order), args...)
}

// bytesOf is nearly what withinPage counts: texts of JSON may have been written with
// more or fewer spaces.
func bytesOf(products []catalog.Product) (sum int) {
	for _, p := range products {
		sum += len(p.Title) + len(p.Description) + len(imagesText(p.Images)) + len(attributesText(p.Attributes))
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
			searchable, grams := catalog.SearchTerms(p.Title)
			batch.Queue(setSearch, p.ID, p.Title, searchable, grams)
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
