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

// Limits on placing a group of orders.
const (
	placeTries = 3                     // attempts that fail, and attempts that lose keys to other transactions
	placeLimit = 6 * time.Second       // for all attempts
	doubtLimit = 2 * time.Second       // after a COMMIT of unknown outcome
	placePause = 50 * time.Millisecond // before an attempt after a failure
)

// errMeanwhile means that in every attempt, other transactions used keys of the
// group after they were looked up and before the insert.
var errMeanwhile = errors.New("other transactions used the same keys in every attempt")

// Place places orders. It retries after a temporary failure such as a lost
// connection or a deadlock: at most three attempts, or for two seconds if the outcome of a
// COMMIT is unknown; eight seconds in all. If the database rejects some of the
// data, each order is placed by itself: the bad one fails, the others don't.
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
			continue // at once: other orders are waiting
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

// placeOnce runs the transaction, in two round trips. Purchases that another
// replica creates with the same keys at the same time are found by the next
// attempt.
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
		return pg.Wrap("insert purchases", err)
	}
	orders.Placed(inserted)
	return nil
}

// readForOrders reads earlier purchases and products in one round trip, and
// decides the orders by them, in that sequence.
func readForOrders(ctx context.Context, tx *pg.Tx, orders *catalog.Orders, again bool) error {
	batch := &pgx.Batch{}
	readKnown(batch, orders, again)
	products := map[int64]catalog.Product{} // only the columns that an order needs
	batch.Queue(`
		SELECT id, title, price
		FROM catalog.products
		WHERE id = ANY($1) AND deleted_at IS NULL AND status = 'active'`, orders.ProductIDs()).Query(func(rows pgx.Rows) error {
		var p catalog.Product
		_, err := pgx.ForEachRow(rows, []any{&p.ID, &p.Title, &p.Price}, func() error {
			products[p.ID] = p
			return nil
		})
		return err
	})
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return pg.Wrap("read repeats and products", err)
	}
	orders.Decide(products)
	return nil
}

// readKnown queues the queries for purchases that were made before with the
// orders' keys and, if byID, with their ids, which an earlier attempt may have
// inserted. The rows are locked although nothing competes for them: a visible row
// may still be missing on a synchronous standby (if its COMMIT was interrupted
// while waiting for it), and only a transaction that has written something waits
// for the standby when it commits.
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

// insertPurchases queues the INSERT of drafts, in the given order. Drafts whose id
// or key already exists are skipped. When the batch has run, inserted holds the
// others.
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
