package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/adminlog"
	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

const (
	// stockLimit is the time limit for a change of stock, with its retries.
	stockLimit = 8 * time.Second
	// stockPause is the time before another attempt.
	stockPause = 50 * time.Millisecond
)

// Stock returns the units of a product on hand; nil if there is no limit. It returns
// ErrProductNotFound if the product does not exist or is deleted.
func (s *Store) Stock(ctx context.Context, productID int64) (*int64, error) {
	return pg.CollectOne(ctx, s.reads, "read stock", catalog.ErrProductNotFound, pgx.RowTo[*int64], `
		SELECT on_hand
		FROM catalog.products
		LEFT JOIN catalog.stock ON product_id = id
		WHERE id = $1 AND deleted_at IS NULL`, productID)
}

// ChangeStock stores a change of stock, with an entry in the admins' log. If there is
// one with its key, it returns that one, or a problem if their contents differ. It
// retries after a temporary failure: an attempt after a COMMIT of unknown outcome finds
// what the first one did. Changes of one product run one after another.
func (s *Store) ChangeStock(ctx context.Context, c catalog.StockChange) (stored catalog.StockChange, repeat bool, err error) {
	committed := false // an attempt may have been
	err = s.changeStock(ctx, c.ProductID, func(tx *pg.Tx) error {
		before, err := lockForChange(ctx, tx, c.ProductID)
		if err != nil {
			return err
		}
		known, err := changeWithKey(ctx, tx, c.ProductID, c.Key)
		if err != nil {
			return err
		}
		if stored, repeat, err = c.On(onHand(before), known); err != nil || known != nil {
			return err
		}
		if before == nil {
			err = setLimit(ctx, tx, &stored)
		} else {
			if _, err = tx.Exec(ctx, `UPDATE catalog.stock SET on_hand = $2 WHERE product_id = $1`, stored.ProductID, stored.OnHand); err == nil {
				err = insertChange(ctx, tx, &stored, &before.Limit)
			}
		}
		if err != nil {
			return pg.Wrap("write stock", err)
		}
		return loggedStock(ctx, tx, stored.AdminID, stored.ProductID, before, &stored)
	}, &committed)
	return stored, repeat && !committed, pg.Wrap("change stock", err)
}

// LiftStock removes the limit of a product, if there is one, with an entry in the
// admins' log.
func (s *Store) LiftStock(ctx context.Context, admin, productID int64) error {
	return pg.Wrap("lift stock", s.changeStock(ctx, productID, func(tx *pg.Tx) error {
		before, err := lockForChange(ctx, tx, productID)
		if err != nil || before == nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM catalog.stock WHERE product_id = $1`, productID); err != nil {
			return pg.Wrap("delete stock", err)
		}
		end := catalog.StockChange{ProductID: productID, Change: -before.OnHand, Reason: "the limit was lifted", AdminID: admin}
		if err := insertChange(ctx, tx, &end, &before.Limit); err != nil {
			return err
		}
		return loggedStock(ctx, tx, admin, productID, before, nil)
	}, new(bool)))
}

// changeStock runs a transaction until it succeeds, or fails for good. It sets
// committed if an attempt that failed may have been committed.
func (s *Store) changeStock(ctx context.Context, productID int64, change func(*pg.Tx) error, committed *bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stockLimit)
	defer cancel()
	return s.stocks.Do(ctx, productID, func() error {
		for {
			err := pg.InTx(ctx, s.pool, change)
			if err == nil || !pg.Passing(err) {
				return err
			}
			*committed = *committed || pg.CommitUnknown(err)
			select {
			case <-ctx.Done():
				return err
			case <-time.After(stockPause):
			}
		}
	})
}

// lockForChange locks a product, and then its stock, and returns the stock; nil if
// there is no limit. Groups lock stock only, so that the lock of the product keeps
// other admins away, and nothing else.
func lockForChange(ctx context.Context, tx *pg.Tx, productID int64) (*catalog.Stock, error) {
	if _, err := lockProduct(ctx, tx, productID); err != nil {
		return nil, err
	}
	var stock catalog.Stock
	err := tx.QueryRow(ctx, `
		SELECT on_hand, stock_limit
		FROM catalog.stock
		WHERE product_id = $1
		FOR NO KEY UPDATE`, productID).Scan(&stock.OnHand, &stock.Limit)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &stock, pg.Wrap("lock stock", err)
}

func onHand(stock *catalog.Stock) *int64 {
	if stock == nil {
		return nil
	}
	return &stock.OnHand
}

// changeWithKey finds the change with a key. It needs no lock to make the COMMIT wait for
// a synchronous standby (see readKnown): the lock of the product does that.
func changeWithKey(ctx context.Context, tx *pg.Tx, productID int64, key string) (*catalog.StockChange, error) {
	known := catalog.StockChange{ProductID: productID, Key: key}
	err := tx.QueryRow(ctx, `
		SELECT id, change, on_hand, reason, coalesce(admin_id, 0), created_at
		FROM catalog.stock_changes
		WHERE product_id = $1 AND idempotency_key = $2`, productID, key).Scan(&known.ID, &known.Change, &known.OnHand, &known.Reason, &known.AdminID, &known.CreatedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &known, pg.Wrap("read change of stock", err)
}

// setLimit stores the first change of a product's stock, which sets the limit.
func setLimit(ctx context.Context, tx *pg.Tx, c *catalog.StockChange) error {
	if err := insertChange(ctx, tx, c, nil); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO catalog.stock (product_id, on_hand, stock_limit) VALUES ($1, $2, $3)`, c.ProductID, c.OnHand, c.ID)
	return pg.Wrap("insert stock", err)
}

func insertChange(ctx context.Context, tx *pg.Tx, c *catalog.StockChange, limit *int64) error {
	err := tx.QueryRow(ctx, `
		INSERT INTO catalog.stock_changes (product_id, stock_limit, change, on_hand, reason, admin_id, idempotency_key)
		VALUES ($1, $2, $3, $4, $5, $6, nullif($7, ''))
		RETURNING id, created_at`, c.ProductID, limit, c.Change, c.OnHand, c.Reason, c.AdminID, c.Key).Scan(&c.ID, &c.CreatedAt)
	return pg.Wrap("insert change of stock", err)
}

// loggedStock adds a change of stock to the admins' log; after is nil if the limit was
// lifted.
func loggedStock(ctx context.Context, tx *pg.Tx, admin, productID int64, before *catalog.Stock, after *catalog.StockChange) error {
	change := adminlog.Change{Actor: admin, Action: "stock.lift", Subject: fmt.Sprintf("product/%d", productID)}
	if before != nil {
		change.Before = adminlog.Members{"on_hand": before.OnHand}
	}
	if after != nil {
		change.Action = "stock.change"
		change.After = adminlog.Members{"on_hand": after.OnHand, "reason": after.Reason}
	}
	return adminlog.Write(ctx, tx, Schema, change)
}
