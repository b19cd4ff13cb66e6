package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

const productColumns = "id, title, description, price, version, created_at, updated_at"

// CreateProduct stores a new product.
func (s *Store) CreateProduct(ctx context.Context, p catalog.Product) (catalog.Product, error) {
	created, err := queryProduct(ctx, s.pool, `
		INSERT INTO catalog.products (title, title_folded, description, price)
		VALUES ($1, $2, $3, $4)
		RETURNING `+productColumns, p.Title, catalog.Fold(p.Title), p.Description, p.Price)
	return created, pg.Wrap("insert product", err)
}

// Product gives a product that is not deleted.
func (s *Store) Product(ctx context.Context, id int64) (catalog.Product, error) {
	p, err := queryProduct(ctx, s.pool, `
		SELECT `+productColumns+`
		FROM catalog.products
		WHERE id = $1 AND deleted_at IS NULL`, id)
	return p, explainProduct("read product", err)
}

// The page after a key, for each order. $2 is the key's id, $3 its title, $4
// its price; all are null on the first page.
var productPages = map[catalog.ProductSort]string{
	catalog.SortNewest:          `($2::bigint IS NULL OR id < $2) ORDER BY id DESC`,
	catalog.SortTitle:           `($2::bigint IS NULL OR (title_folded, id) > ($3, $2)) ORDER BY title_folded, id`,
	catalog.SortPrice:           `($2::bigint IS NULL OR (price, id) > ($4, $2)) ORDER BY price, id`,
	catalog.SortPriceDescending: `($2::bigint IS NULL OR (price, id) < ($4, $2)) ORDER BY price DESC, id DESC`,
}

// Products lists products that are not deleted. q.Title is folded.
func (s *Store) Products(ctx context.Context, q catalog.ProductQuery) ([]catalog.Product, error) {
	var id, price *int64
	var title *string
	if q.After != nil {
		id, title, price = &q.After.ID, &q.After.Title, (*int64)(&q.After.Price)
	}
	// $3 and $4 are named once more, since not every order compares them.
	sql := `
		SELECT ` + productColumns + `
		FROM catalog.products
		WHERE deleted_at IS NULL AND ($1 = '' OR position($1 IN title_folded) > 0)
			AND ($3::text, $4::bigint) IS NOT DISTINCT FROM ($3, $4)
			AND ` + productPages[q.Sort] + `
		LIMIT $5`
	args := []any{q.Title, id, title, price, q.Limit}
	if q.Title == "" { // an index holds them in this order
		return pg.Collect(ctx, s.reads, "list products", scanProduct, sql, args...)
	}
	return pg.Rows(ctx, s.pool, "list products", scanProduct, sql, args...)
}

// ChangeProduct locks a product, has it changed, and stores the change.
func (s *Store) ChangeProduct(ctx context.Context, id int64, change func(catalog.Product) (catalog.Product, bool, error)) (catalog.Product, error) {
	var p catalog.Product
	err := pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		before, err := lockProduct(ctx, tx, id)
		if err != nil {
			return err
		}
		after, changed, err := change(before)
		if err != nil {
			return err
		}
		p = before
		if !changed {
			return nil
		}
		p, err = queryProduct(ctx, tx, `
			UPDATE catalog.products
			SET title = $2, title_folded = $3, description = $4, price = $5, version = version + 1, updated_at = now()
			WHERE id = $1
			RETURNING `+productColumns, id, after.Title, catalog.Fold(after.Title), after.Description, after.Price)
		return explainProduct("update product", err)
	})
	return p, pg.Wrap("change product", err)
}

// DeleteProduct locks a product, and marks it as deleted unless may objects.
func (s *Store) DeleteProduct(ctx context.Context, id int64, may func(catalog.Product) error) error {
	return pg.Wrap("delete product", pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		p, err := lockProduct(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := may(p); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			UPDATE catalog.products
			SET deleted_at = now(), version = version + 1, updated_at = now()
			WHERE id = $1`, id)
		return err
	}))
}

// lockProduct reads a product that nobody else changes until the end of the
// transaction.
func lockProduct(ctx context.Context, tx *pg.Tx, id int64) (catalog.Product, error) {
	p, err := queryProduct(ctx, tx, `
		SELECT `+productColumns+`
		FROM catalog.products
		WHERE id = $1 AND deleted_at IS NULL
		FOR NO KEY UPDATE`, id)
	return p, explainProduct("lock product", err)
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func queryProduct(ctx context.Context, q querier, sql string, args ...any) (catalog.Product, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return catalog.Product{}, err
	}
	return pgx.CollectExactlyOneRow(rows, scanProduct)
}

func scanProduct(row pgx.CollectableRow) (catalog.Product, error) {
	var p catalog.Product
	err := row.Scan(&p.ID, &p.Title, &p.Description, &p.Price, &p.Version, &p.CreatedAt, &p.UpdatedAt)
	return p, err
}

func explainProduct(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows):
		return catalog.ErrProductNotFound
	}
	return pg.Wrap(what, err)
}
