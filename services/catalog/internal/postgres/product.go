package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/adminlog"
	"lavka/libs/service/page"
	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

const productColumns = "id, title, description, price, version, created_at, updated_at"

// CreateProduct stores a new product.
func (s *Store) CreateProduct(ctx context.Context, admin int64, p catalog.Product) (catalog.Product, error) {
	err := pg.InTx(ctx, s.pool, func(tx *pg.Tx) (err error) {
		p, err = pg.One(ctx, tx, "insert product", pgx.ErrNoRows, scanProduct, `
			INSERT INTO catalog.products (title, title_folded, description, price, search_title, search_grams)
			VALUES ($1, $2, $3, $4, $5, $6)
			RETURNING `+productColumns, p.Title, catalog.Fold(p.Title), p.Description, p.Price, catalog.SearchableTitle(p.Title), catalog.Grams(catalog.SearchableTitle(p.Title)))
		if err != nil {
			return err
		}
		return logged(ctx, tx, admin, "create", p.ID, nil, members(p))
	})
	return p, pg.Wrap("create product", err)
}

// logged adds a change of a product to the admins' log.
func logged(ctx context.Context, tx *pg.Tx, admin int64, action string, id int64, before, after adminlog.Members) error {
	return adminlog.Write(ctx, tx, Schema, adminlog.Change{
		Actor: admin, Action: "product." + action, Subject: fmt.Sprintf("product/%d", id), Before: before, After: after,
	})
}

func members(p catalog.Product) adminlog.Members {
	return adminlog.Members{"title": p.Title, "description": p.Description, "price": p.Price}
}

// Product returns a product, or ErrProductNotFound if it does not exist or is
// deleted.
func (s *Store) Product(ctx context.Context, id int64) (catalog.Product, error) {
	return pg.CollectOne(ctx, s.reads, "read product", catalog.ErrProductNotFound, scanProduct, `
		SELECT `+productColumns+`
		FROM catalog.products
		WHERE id = $1 AND deleted_at IS NULL`, id)
}

// productLists has, for each sort order, the position of a product, the condition
// for those after the position $2 (and $3), and the order. An index has each order.
var productLists = map[catalog.ProductSort]struct {
	position     func(catalog.ProductKey) []any
	after, order string
}{
	catalog.SortNewest:          {byID, `id < $2`, `id DESC`},
	catalog.SortTitle:           {byTitle, `(title_folded, id) > ($2, $3)`, `title_folded, id`},
	catalog.SortPrice:           {byPrice, `(price, id) > ($2, $3)`, `price, id`},
	catalog.SortPriceDescending: {byPrice, `(price, id) < ($2, $3)`, `price DESC, id DESC`},
}

// withinPage returns a statement for the first rows of sql, up to and including the
// one with which their texts pass page.MaxBytes. A page ends before that row, since
// texts are no shorter in JSON, and the rest would be read for nothing: a hundred of
// the longest descriptions are four megabytes. Postgres knows the length of a text
// without reading it.
func withinPage(sql string) string {
	return `
		SELECT ` + productColumns + `
		FROM (
			SELECT *, sum(octet_length(title) + octet_length(description)) OVER (ROWS UNBOUNDED PRECEDING) - octet_length(title) - octet_length(description) AS before
			FROM (` + sql + `) AS listed
		) AS measured
		WHERE before <= ` + strconv.Itoa(page.MaxBytes)
}

func byID(k catalog.ProductKey) []any    { return []any{k.ID} }
func byTitle(k catalog.ProductKey) []any { return []any{k.Title, k.ID} }
func byPrice(k catalog.ProductKey) []any { return []any{int64(k.Price), k.ID} }

// Products lists products that are not deleted, at most q.Limit and no more than fit
// on a page, and one.
func (s *Store) Products(ctx context.Context, q catalog.ProductQuery) ([]catalog.Product, error) {
	if q.Title != "" {
		return s.search(ctx, q)
	}
	list := productsAfter(q) // an index has them in this order
	sql := `SELECT ` + productColumns + ` FROM catalog.products WHERE ` + list.where + ` ORDER BY ` + list.order
	return pg.Collect(ctx, s.reads, "list products", scanProduct, withinPage(pg.Page(sql)), list.args...)
}

// ChangeProduct locks a product, passes it to change, and stores the result.
func (s *Store) ChangeProduct(ctx context.Context, admin, id int64, change func(catalog.Product) (catalog.Product, bool, error)) (catalog.Product, error) {
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
		p, err = pg.One(ctx, tx, "update product", catalog.ErrProductNotFound, scanProduct, `
			UPDATE catalog.products
			SET title = $2, title_folded = $3, description = $4, price = $5, version = version + 1, updated_at = now()
			WHERE id = $1
			RETURNING `+productColumns, id, after.Title, catalog.Fold(after.Title), after.Description, after.Price)
		if err != nil {
			return err
		}
		if p.Title != before.Title { // a trigger has emptied what it was searched by
			if _, err := tx.Exec(ctx, setSearch, p.ID, p.Title, catalog.SearchableTitle(p.Title), catalog.Grams(catalog.SearchableTitle(p.Title))); err != nil {
				return err
			}
		}
		return logged(ctx, tx, admin, "change", id, members(before), members(p))
	})
	return p, pg.Wrap("change product", err)
}

// DeleteProduct locks a product, and marks it as deleted unless may returns an
// error.
func (s *Store) DeleteProduct(ctx context.Context, admin, id int64, may func(catalog.Product) error) error {
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
		if err != nil {
			return err
		}
		return logged(ctx, tx, admin, "delete", id, members(p), nil)
	}))
}

// lockProduct reads a product and locks it against changes until the end of the
// transaction.
func lockProduct(ctx context.Context, tx *pg.Tx, id int64) (catalog.Product, error) {
	return pg.One(ctx, tx, "lock product", catalog.ErrProductNotFound, scanProduct, `
		SELECT `+productColumns+`
		FROM catalog.products
		WHERE id = $1 AND deleted_at IS NULL
		FOR NO KEY UPDATE`, id)
}

func scanProduct(row pgx.CollectableRow) (catalog.Product, error) {
	var p catalog.Product
	err := row.Scan(&p.ID, &p.Title, &p.Description, &p.Price, &p.Version, &p.CreatedAt, &p.UpdatedAt)
	return p, err
}
