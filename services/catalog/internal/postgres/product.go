package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/adminlog"
	"lavka/libs/service/page"
	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

const productColumns = "id, sku, status, title, description, price, images, attributes, version, created_at, updated_at"

// oneColumns is for single products, with their stock.
const oneColumns = productColumns + ", (SELECT on_hand FROM catalog.stock WHERE product_id = id)"

// CreateProduct stores a new product.
func (s *Store) CreateProduct(ctx context.Context, admin int64, p catalog.Product) (made catalog.Product, err error) {
	err = pg.InTx(ctx, s.pool, func(tx *pg.Tx) (err error) {
		made, err = insertProduct(ctx, tx, admin, p)
		return err
	})
	return made, pg.Wrap("create product", err)
}

// insertProduct adds a product with its stock, or returns ErrSKUTaken.
func insertProduct(ctx context.Context, tx *pg.Tx, admin int64, p catalog.Product) (catalog.Product, error) {
	stock := p.OnHand
	searchable, grams := catalog.SearchTerms(p.Title)
	p, err := pg.One(ctx, tx, "insert product", catalog.ErrSKUTaken, scanProduct, `
		INSERT INTO catalog.products (title, title_folded, description, price, sku, status, images, attributes, search_title, search_grams)
		VALUES ($1, $2, $3, $4, nullif($5, ''), $6, $7, $8, $9, $10)
		ON CONFLICT (sku) WHERE sku IS NOT NULL AND deleted_at IS NULL DO NOTHING
		RETURNING `+productColumns,
		p.Title, catalog.Fold(p.Title), p.Description, p.Price, p.SKU, cmp.Or(p.Status, catalog.Active), imagesText(p.Images), attributesText(p.Attributes),
		searchable, grams)
	if err != nil {
		return p, err
	}
	after := members(p)
	if p.OnHand = stock; stock != nil {
		after["stock"] = *stock
		if err := setLimit(ctx, tx, &catalog.StockChange{ProductID: p.ID, Change: *stock, OnHand: *stock, Reason: "new product", AdminID: admin}); err != nil {
			return p, err
		}
	}
	return p, logged(ctx, tx, admin, "create", p.ID, nil, after)
}

// logged adds a change of a product to the admins' log.
func logged(ctx context.Context, tx *pg.Tx, admin int64, action string, id int64, before, after adminlog.Members) error {
	return adminlog.Write(ctx, tx, Schema, adminlog.Change{
		Actor: admin, Action: "product." + action, Subject: fmt.Sprintf("product/%d", id), Before: before, After: after,
	})
}

// Product returns a product with its stock, or ErrProductNotFound if it does not exist
// or is deleted.
func (s *Store) Product(ctx context.Context, id int64) (catalog.Product, error) {
	return pg.CollectOne(ctx, s.reads, "read product", catalog.ErrProductNotFound, scanOne, `
		SELECT `+oneColumns+`
		FROM catalog.products
		WHERE id = $1 AND deleted_at IS NULL`, id)
}

// productList is the sort order of a list, which an index has.
type productList struct {
	position func(catalog.ProductKey) []any // of a product, in the columns
	columns  []string
	down     bool
}

var productLists = map[catalog.ProductSort]productList{
	catalog.SortNewest:          {byID, []string{"id"}, true},
	catalog.SortTitle:           {byTitle, []string{"title_folded", "id"}, false},
	catalog.SortPrice:           {byPrice, []string{"price", "id"}, false},
	catalog.SortPriceDescending: {byPrice, []string{"price", "id"}, true},
}

// after is the condition for the products after a position, whose first parameter is
// $first.
func (l productList) after(first int) string {
	sign := ">"
	if l.down {
		sign = "<"
	}
	parameters := make([]string, len(l.columns))
	for i := range parameters {
		parameters[i] = fmt.Sprint("$", first+i)
	}
	return fmt.Sprintf(`(%s) %s (%s)`, strings.Join(l.columns, ", "), sign, strings.Join(parameters, ", "))
}

func (l productList) order() string {
	if l.down {
		return strings.Join(l.columns, " DESC, ") + " DESC"
	}
	return strings.Join(l.columns, ", ")
}

// ofStatus is the list of the products of a status. Its order begins with the status, of
// which there is but one, so that only an index can be read that begins with it too. For
// an equality the server could follow the index of all products, and filter: then a page
// reads as many as have another status.
func (l productList) ofStatus(status catalog.ProductStatus) productList {
	return productList{func(k catalog.ProductKey) []any { return append([]any{status}, l.position(k)...) }, append([]string{"status"}, l.columns...), l.down}
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
			SELECT listed.*, sum(length) OVER (ROWS UNBOUNDED PRECEDING) - length AS before
			FROM (` + sql + `) AS listed, LATERAL (SELECT octet_length(title) + octet_length(description) + octet_length(images) + octet_length(attributes) AS length) AS texts
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
	where, order, args := listed(q) // an index has them in this order
	sql := `SELECT ` + productColumns + ` FROM catalog.products WHERE ` + where + ` ORDER BY ` + order
	return pg.Collect(ctx, s.reads, "list products", scanProduct, withinPage(pg.Page(sql)), args...)
}

// listed returns the condition and the order of a list, and the condition's arguments
// after the limit, which is $1.
func listed(q catalog.ProductQuery) (where, order string, args []any) {
	list, where, args := productLists[q.Sort], `deleted_at IS NULL`, []any{q.Limit}
	if q.Status != "" {
		list = list.ofStatus(q.Status)
		args = append(args, q.Status)
		where += ` AND ` + withStatus
	}
	if q.After != nil {
		where += ` AND ` + list.after(len(args)+1)
		args = append(args, list.position(*q.After)...)
	}
	return where, list.order(), args
}

// withStatus is the condition for products of the status $2.
const withStatus = `status BETWEEN $2 AND $2`

// ChangeProduct locks a product, passes it to change, and stores the result.
func (s *Store) ChangeProduct(ctx context.Context, admin, id int64, change func(catalog.Product) (catalog.Product, bool, error)) (catalog.Product, error) {
	var p catalog.Product
	err := pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		before, err := lockProduct(ctx, tx, id)
		if err != nil {
			return err
		}
		p, err = s.changeLocked(ctx, tx, admin, before, change)
		return err
	})
	return p, pg.Wrap("change product", err)
}

// changeLocked stores what change makes of a product that the transaction has locked.
func (s *Store) changeLocked(ctx context.Context, tx *pg.Tx, admin int64, before catalog.Product, change func(catalog.Product) (catalog.Product, bool, error)) (p catalog.Product, err error) {
	after, changed, err := change(before)
	if err != nil || !changed {
		return before, err
	}
	p, err = pg.One(ctx, tx, "update product", catalog.ErrProductNotFound, scanOne, `
		UPDATE catalog.products
		SET title = $2, title_folded = $3, description = $4, price = $5, sku = nullif($6, ''), status = $7, images = $8, attributes = $9,
			version = version + 1, updated_at = now()
		WHERE id = $1
		RETURNING `+oneColumns,
		before.ID, after.Title, catalog.Fold(after.Title), after.Description, after.Price, after.SKU, after.Status, imagesText(after.Images), attributesText(after.Attributes))
	if constraint, ok := pg.UniqueViolation(err); ok && constraint == skuIndex {
		return p, catalog.ErrSKUTaken
	}
	if err != nil {
		return p, err
	}
	if p.Title != before.Title { // a trigger has emptied what it was searched by
		searchable, grams := catalog.SearchTerms(p.Title)
		if _, err := tx.Exec(ctx, setSearch, p.ID, p.Title, searchable, grams); err != nil {
			return p, err
		}
	}
	return p, logged(ctx, tx, admin, "change", p.ID, members(before), members(p))
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
	return pg.One(ctx, tx, "lock product", catalog.ErrProductNotFound, scanOne, `
		SELECT `+oneColumns+`
		FROM catalog.products
		WHERE id = $1 AND deleted_at IS NULL
		FOR NO KEY UPDATE`, id)
}

func scanOne(row pgx.CollectableRow) (catalog.Product, error) {
	var onHand *int64
	p, err := scanProduct(alsoScan{row, []any{&onHand}})
	p.OnHand = onHand
	return p, err
}

func scanProduct(row pgx.CollectableRow) (catalog.Product, error) {
	var p catalog.Product
	var sku *string
	var images, attributes string
	err := row.Scan(&p.ID, &sku, &p.Status, &p.Title, &p.Description, &p.Price, &images, &attributes, &p.Version, &p.CreatedAt, &p.UpdatedAt)
	if sku != nil {
		p.SKU = *sku
	}
	return p, errors.Join(err, readText(images, noImages, &p.Images), readText(attributes, noAttributes, &p.Attributes))
}
