package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/domain/money"
	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

// Limits of placing a group of orders.
const (
	placeTries = 3                     // of a transaction that fails, and of one that others outrun
	placeLimit = 6 * time.Second       // for all tries
	doubtLimit = 2 * time.Second       // from a COMMIT of unknown outcome on
	placePause = 50 * time.Millisecond // before the database is asked again
)

// errMeanwhile means that others have used keys of a group, time and again, between
// looking for them and inserting.
var errMeanwhile = errors.New("others were faster each time")

// Place settles orders. A lost lock or connection has the group run again, at
// most three times, or for two seconds when a COMMIT is in doubt; eight seconds
// in all. When the database refuses some of the data, each order is placed alone:
// the bad one fails, the others don't.
func (s *Store) Place(ctx context.Context, orders *catalog.Orders) {
	ctx, cancel := context.WithTimeout(ctx, placeLimit+doubtLimit)
	defer cancel()
	err := s.placeTogether(ctx, orders)
	switch {
	case err == nil:
	case pg.BadData(err) && !pg.Again(err) && orders.Len() > 1:
		for _, alone := range orders.Split() {
			s.Place(ctx, alone)
		}
	case pg.Passing(err), errors.Is(err, errMeanwhile):
		orders.Fail(catalog.ErrNothingBought.Because(err))
	default:
		orders.Fail(fmt.Errorf("place %d orders: %w", orders.Len(), err))
	}
}

func (s *Store) placeTogether(ctx context.Context, orders *catalog.Orders) error {
	deadline := time.Now().Add(placeLimit)
	again, lost, failed := false, 0, 0
	for ; ; again = true {
		limit, cancel := context.WithDeadline(ctx, deadline)
		err := s.placeOnce(limit, orders, again)
		cancel()
		if err == nil && !orders.Missing() {
			return nil
		}
		if err == nil {
			if lost++; lost == placeTries {
				return errMeanwhile
			}
			continue // at once: others wait
		}
		failed++
		if pg.CommitUnknown(err) && !orders.Doubtful() {
			orders.Doubt()
			deadline = time.Now().Add(doubtLimit)
		}
		lastTry := failed >= placeTries && !orders.Doubtful()
		if !pg.Passing(err) || lastTry || time.Now().After(deadline) {
			return err
		}
		orders.Again()
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(placePause):
		}
	}
}

// placeOnce is the transaction, in two round trips. What another replica makes
// meanwhile under the same keys is for the next run to see.
func (s *Store) placeOnce(ctx context.Context, orders *catalog.Orders, again bool) error {
	tx, err := pg.Begin(ctx, s.groups)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if err := readForOrders(ctx, tx, orders, again); err != nil {
		return err
	}
	drafts := orders.Drafts()
	if len(drafts) == 0 {
		return tx.Commit(ctx)
	}
	var inserted []catalog.Purchase
	batch := insertPurchases(drafts, s.terms, &inserted)
	if err := tx.CommitWith(ctx, batch); err != nil {
		return wrap("insert purchases", err)
	}
	orders.Placed(inserted)
	return nil
}

// readForOrders reads earlier purchases and products in one round trip, and
// decides by them, in that order.
func readForOrders(ctx context.Context, tx *pg.Tx, orders *catalog.Orders, again bool) error {
	batch := &pgx.Batch{}
	readKnown(batch, orders, again)
	products := map[int64]catalog.Product{} // what an order needs of them
	batch.Queue(`
		SELECT id, title, price
		FROM catalog.products
		WHERE id = ANY($1) AND deleted_at IS NULL`, orders.ProductIDs()).Query(func(rows pgx.Rows) error {
		var p catalog.Product
		_, err := pgx.ForEachRow(rows, []any{&p.ID, &p.Title, &p.Price}, func() error {
			products[p.ID] = p
			return nil
		})
		return err
	})
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return wrap("read repeats and products", err)
	}
	orders.Decide(products)
	return nil
}

// readKnown queues the reading of purchases that were made before under the
// orders' keys, and under their ids where an earlier run may have made them.
// They are locked, though nobody contends for them: a row that can be seen may
// be missing on a synchronous standby still (its COMMIT was interrupted while
// it waited), and only a transaction that has written something waits for the
// standby before it is answered.
func readKnown(batch *pgx.Batch, orders *catalog.Orders, byID bool) {
	take := func(rows pgx.Rows) error {
		known, err := pgx.CollectRows(rows, scanPurchase)
		if err == nil {
			orders.Known(known)
		}
		return err
	}
	if byID {
		batch.Queue(`
			SELECT `+purchaseColumns+`
			FROM catalog.purchases
			WHERE id = ANY($1)
			FOR KEY SHARE`, orders.IDs()).Query(take)
	}
	if users, keys := orders.Keys(); len(users) > 0 {
		batch.Queue(`
			SELECT `+purchaseColumns+`
			FROM catalog.purchases
			JOIN unnest($1::bigint[], $2::text[]) AS asked (asked_user, asked_key)
				ON user_id = asked_user AND idempotency_key = asked_key
			FOR KEY SHARE OF purchases`, users, keys).Query(take)
	}
}

// insertPurchases queues the inserting of drafts in their order, except those that
// are there already.
func insertPurchases(drafts []catalog.Purchase, terms Terms, inserted *[]catalog.Purchase) *pgx.Batch {
	n := len(drafts)
	byID := make(map[uuid.UUID]catalog.Purchase, n)
	ids, users, keys := make([]uuid.UUID, n), make([]int64, n), make([]*string, n)
	productIDs, titles, prices := make([]int64, n), make([]string, n), make([]int64, n)
	bills, expected, traces := make([]int64, n), make([]*money.Amount, n), make([]string, n)
	for i, p := range drafts {
		byID[p.ID] = p
		ids[i], users[i], productIDs[i], titles[i] = p.ID, p.UserID, p.ProductID, p.Title
		prices[i], bills[i], expected[i] = int64(p.Price), p.BillID, p.ExpectedPrice
		if p.Key != "" {
			keys[i] = &drafts[i].Key
		}
		traces[i] = p.Trace
	}
	batch := &pgx.Batch{}
	batch.Queue(`
		INSERT INTO catalog.purchases (id, user_id, idempotency_key, product_id, title, price, bill_id, expected_price, trace_context, next_send_at, expires_at)
		SELECT id, user_id, key, product_id, title, price, bill_id, expected_price, trace, now() + $10::interval, now() + $11::interval
		FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[])
			WITH ORDINALITY AS draft (id, user_id, key, product_id, title, price, bill_id, expected_price, trace, place)
		ORDER BY place
		ON CONFLICT DO NOTHING
		RETURNING id, created_at, expires_at`,
		ids, users, keys, productIDs, titles, prices, bills, expected, traces, terms.Wait, terms.Expiry).Query(func(rows pgx.Rows) (err error) {
		*inserted, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (catalog.Purchase, error) {
			var id uuid.UUID
			var created, expires time.Time
			err := row.Scan(&id, &created, &expires)
			p := byID[id]
			p.CreatedAt, p.ExpiresAt = created, expires
			return p, err
		})
		return err
	})
	return batch
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
