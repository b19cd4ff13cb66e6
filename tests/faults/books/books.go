// Package books reads the databases of a shop directly, not through its services.
package books

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pgconfig"
	"lavka/tests/faults/history"
)

// Read reads everything that belongs to bills with ids from from up to, but not
// including, to, what the admins' log has of the products bought from them, and all
// users and customers.
func Read(ctx context.Context, url string, from, to int64) (b history.Books, err error) {
	conn, err := pgconfig.Connect(ctx, url)
	if err != nil {
		return b, fmt.Errorf("read the books: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		return read(ctx, tx, &b, from, to)
	})
	if err != nil {
		return b, fmt.Errorf("read the books: %w", err)
	}
	return b, nil
}

func read(ctx context.Context, tx pgx.Tx, b *history.Books, from, to int64) error {
	for _, part := range []func() error{
		collect(ctx, tx, &b.Purchases, `
			SELECT id::text, user_id, product_id, bill_id, coalesce(idempotency_key, ''), coalesce(unit_price, price), expected_price, status, coalesce(decline_reason, ''), balance, transaction_id,
				coalesce(quantity, 1), coalesce(stock_taken, 0)
			FROM catalog.purchases WHERE bill_id >= $1 AND bill_id < $2 ORDER BY id`, from, to),
		collect(ctx, tx, &b.Charges, `
			SELECT purchase_id::text, coalesce(user_id, 0), coalesce(bill_id, 0), coalesce(amount, 0), outcome, balance, transaction_id
			FROM billing.charges
			WHERE bill_id >= $1 AND bill_id < $2
			   OR bill_id IS NULL AND purchase_id IN (SELECT id FROM catalog.purchases WHERE bill_id >= $1 AND bill_id < $2)
			ORDER BY purchase_id`, from, to),
		collect(ctx, tx, &b.Transactions, `
			SELECT id, bill_id, user_id, amount, balance_after, payment_id, purchase_id::text, refund_id::text, reversal_id, created_at
			FROM billing.transactions WHERE bill_id >= $1 AND bill_id < $2 ORDER BY id`, from, to),
		collect(ctx, tx, &b.Bills, `
			SELECT id, user_id, balance FROM billing.bills WHERE id >= $1 AND id < $2 ORDER BY id`, from, to),
		collect(ctx, tx, &b.Refunds, `
			SELECT id::text, purchase_id::text, idempotency_key, user_id, bill_id, amount, status, coalesce(decline_reason, ''), transaction_id, coalesce(restock, 0)
			FROM catalog.refunds WHERE bill_id >= $1 AND bill_id < $2 ORDER BY id`, from, to),
		collect(ctx, tx, &b.Credits, `
			SELECT id, refund_id::text, purchase_id::text, user_id, bill_id, amount, outcome
			FROM billing.refunds WHERE bill_id >= $1 AND bill_id < $2 ORDER BY id`, from, to),
		collect(ctx, tx, &b.Takebacks, `
			SELECT id, reversal_id, payment_id, bill_id, total, due, debited, shortfall
			FROM billing.reversals WHERE bill_id >= $1 AND bill_id < $2 ORDER BY id`, from, to),
		collect(ctx, tx, &b.Stocks, `
			SELECT product_id, on_hand FROM catalog.stock WHERE product_id IN (`+products+`) ORDER BY product_id`, from, to),
		collect(ctx, tx, &b.StockChanges, `
			SELECT product_id, change, coalesce(idempotency_key, ''), refund_id::text FROM catalog.stock_changes WHERE product_id IN (`+products+`) ORDER BY id`, from, to),
		collect(ctx, tx, &b.Customers, `SELECT user_id, status, version FROM billing.customers ORDER BY user_id`),
		collect(ctx, tx, &b.Users, `
			SELECT id, CASE WHEN disabled_at IS NOT NULL THEN 'disabled' WHEN activated_at IS NULL THEN 'inactive' ELSE 'active' END, version
			FROM auth.users ORDER BY id`),
		collect(ctx, tx, &b.Logged, `
			SELECT subject, version, (SELECT count(*) FROM catalog.log l WHERE l.subject = p.subject AND action LIKE 'product.%')
			FROM (SELECT format('product/%s', id) AS subject, version FROM catalog.products WHERE id IN (`+products+`)) AS p
			UNION ALL
			SELECT format('stock of product/%s', product_id), count(*), (SELECT count(*) FROM catalog.log l WHERE l.subject = format('product/%s', product_id) AND action = 'stock.change')
			FROM catalog.stock_changes WHERE idempotency_key IS NOT NULL AND product_id IN (`+products+`) GROUP BY product_id
			UNION ALL
			SELECT subject, disabled, (SELECT coalesce(sum(CASE action WHEN 'user.disable' THEN 1 WHEN 'user.enable' THEN -1 ELSE 0 END), 0)::bigint FROM auth.log l WHERE l.subject = u.subject)
			FROM (SELECT format('user/%s', id) AS subject, (disabled_at IS NOT NULL)::int::bigint AS disabled FROM auth.users) AS u
			ORDER BY subject`, from, to),
	} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// products are those that were bought from bills in a range.
const products = `SELECT product_id FROM catalog.purchases WHERE bill_id >= $1 AND bill_id < $2`

func collect[T any](ctx context.Context, tx pgx.Tx, into *[]T, sql string, args ...any) func() error {
	return func() error {
		rows, err := tx.Query(ctx, sql, args...)
		if err == nil {
			*into, err = pgx.CollectRows(rows, pgx.RowToStructByPos[T])
		}
		return err
	}
}

// Watcher checks the ledger and the stock while they are in use: at every moment a
// bill's balance must be the sum of its transactions, and not below zero, and a
// product's stock must be what its changes and purchases make.
type Watcher struct {
	looks atomic.Int64
	stock stockWatch
	end   context.CancelFunc
	done  sync.WaitGroup

	mu    sync.Mutex
	wrong []string
}

// Watch checks the bills in a range of ids about every 40 ms. It retries while the
// server is unreachable.
func Watch(ctx context.Context, url string, from, to int64) *Watcher {
	ctx, end := context.WithCancel(ctx)
	w := &Watcher{end: end, stock: newStockWatch(time.Now())}
	w.done.Go(func() {
		for ctx.Err() == nil {
			w.session(ctx, url, from, to)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return w
}

// Stock returns what was wrong with the stock.
func (w *Watcher) Stock() []string { return w.stock.wrong }

// Stop ends the watch, and returns the number of checks and the violations.
func (w *Watcher) Stop() (looks int64, wrong []string) {
	w.end()
	w.done.Wait()
	return w.looks.Load(), w.wrong
}

func (w *Watcher) session(ctx context.Context, url string, from, to int64) {
	conn, err := pgconfig.Connect(ctx, url)
	if err != nil {
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for ctx.Err() == nil {
		// One statement reads one snapshot.
		rows, err := conn.Query(ctx, `
			SELECT format('bill %s has a balance of %s, its transactions sum to %s', b.id, b.balance, coalesce(t.total, 0))
			FROM billing.bills b
			LEFT JOIN (SELECT bill_id, sum(amount) AS total FROM billing.transactions WHERE bill_id >= $1 AND bill_id < $2 GROUP BY bill_id) t ON t.bill_id = b.id
			WHERE b.id >= $1 AND b.id < $2 AND (b.balance <> coalesce(t.total, 0) OR b.balance < 0)
			LIMIT 3`, from, to)
		if err != nil {
			return
		}
		wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return
		}
		if w.looks.Add(1)%stockEvery == 1 && w.stock.look(ctx, conn) != nil {
			return
		}
		if len(wrong) > 0 {
			w.mu.Lock()
			if len(w.wrong) < 10 {
				w.wrong = append(w.wrong, wrong...)
			}
			w.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(40 * time.Millisecond):
		}
	}
}
