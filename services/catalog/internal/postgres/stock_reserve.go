package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

// errStockHeld means that other transactions have the stock of a product locked for
// longer than lock_timeout. Another attempt skips what is locked.
var errStockHeld = errors.New("the stock of a product is locked by other transactions")

// lockStock queues the statement that locks the stock of products, in the order of
// their ids. Every transaction that changes stock does so before it writes a row of
// purchases or refunds, so that two of them can't deadlock. products is an expression
// for an array of ids, with its arguments in args. Once it has run, got is not nil.
func lockStock(batch *pgx.Batch, skip bool, got *map[int64]catalog.Stock, products string, args ...any) {
	sql := `
		SELECT product_id, on_hand, stock_limit
		FROM catalog.stock
		WHERE product_id = ANY(` + products + `)
		ORDER BY product_id
		FOR NO KEY UPDATE`
	if skip {
		sql += ` SKIP LOCKED`
	}
	batch.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		stock := map[int64]catalog.Stock{}
		var id int64
		var s catalog.Stock
		_, err := pgx.ForEachRow(rows, []any{&id, &s.OnHand, &s.Limit}, func() error {
			stock[id] = s
			return nil
		})
		if err == nil {
			*got = stock
		}
		return err
	})
}

// held returns errStockHeld in place of the error of a batch whose lockStock has waited
// for too long.
func held(err error, locked map[int64]catalog.Stock) error {
	if locked == nil && pg.LockTimeout(err) {
		return fmt.Errorf("%w: %w", errStockHeld, err)
	}
	return err
}

// reserve locks the stock of the limited products of a group, and decides which orders
// get it. Without such products it does nothing. It reads the repeats once more: while
// it waited for the lock, another replica may have placed an order with the same key,
// or an earlier attempt of this transaction may have been committed.
func reserve(ctx context.Context, tx *pg.Tx, orders *catalog.Orders, again, skip bool) error {
	products, buyers := orders.Limited()
	if len(products) == 0 {
		return nil
	}
	shelf := catalog.Shelf{Skipped: map[int64]bool{}, Held: map[catalog.UserProduct]int{}}
	batch := &pgx.Batch{}
	lockStock(batch, skip, &shelf.Stock, `$1::bigint[]`, products)
	if skip {
		batch.Queue(`SELECT product_id FROM catalog.stock WHERE product_id = ANY($1)`, products).Query(func(rows pgx.Rows) error {
			var id int64
			_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
				if _, locked := shelf.Stock[id]; !locked {
					shelf.Skipped[id] = true
				}
				return nil
			})
			return err
		})
	}
	users, wanted := make([]int64, len(buyers)), make([]int64, len(buyers))
	for i, b := range buyers {
		users[i], wanted[i] = b.UserID, b.ProductID
	}
	// The lock makes the sums exact: others place their purchases before they let it go.
	batch.Queue(`
		SELECT user_id, product_id, sum(stock_taken)
		FROM unnest($1::bigint[], $2::bigint[]) AS buyer (buyer_id, wanted)
		JOIN catalog.purchases ON user_id = buyer_id AND product_id = wanted
		WHERE settled_at IS NULL AND stock_taken IS NOT NULL
		GROUP BY user_id, product_id`, users, wanted).Query(func(rows pgx.Rows) error {
		var buyer catalog.UserProduct
		var units int
		_, err := pgx.ForEachRow(rows, []any{&buyer.UserID, &buyer.ProductID, &units}, func() error {
			shelf.Held[buyer] = units
			return nil
		})
		return err
	})
	readKnown(batch, orders, again)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return pg.Wrap("lock stock", held(err, shelf.Stock))
	}
	orders.Reserve(shelf)
	return nil
}
