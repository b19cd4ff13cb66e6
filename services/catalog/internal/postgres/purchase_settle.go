package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/domain/money"
	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
)

// settleLimit is the time limit for writing a group of answers.
const settleLimit = 5 * time.Second

// Settle writes answers, each for a different purchase. It sorts them by purchase
// id, so that two replicas hardly ever deadlock: Postgres locks the rows in the
// order given (if it does not, and they deadlock, one of them is retried). If the
// database rejects some of the data, each answer is written by itself, and the
// error names those that were not written. Answers for purchases that do not exist
// are ignored.
func (s *Store) Settle(ctx context.Context, answers []catalog.Answer) (catalog.Settlement, error) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	slices.SortFunc(answers, func(a, b catalog.Answer) int { return slices.Compare(a.PurchaseID[:], b.PurchaseID[:]) })
	var settled catalog.Settlement
	var err error
	skip := false
	for try := 1; try <= placeTries; try++ {
		if settled, err = s.settleOnce(ctx, answers, skip); err == nil || !pg.Passing(err) {
			break
		}
		skip = skip || errors.Is(err, errStockHeld)
	}
	if err == nil {
		return settled, nil
	}
	if !pg.BadData(err) || len(answers) == 1 {
		return catalog.Settlement{}, pg.Wrap("write answers", err)
	}
	var failures []error
	for i := range answers {
		one, err := s.Settle(context.WithoutCancel(ctx), answers[i:i+1])
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", answers[i].PurchaseID, err))
		}
		settled.Written = append(settled.Written, one.Written...)
		settled.Before = append(settled.Before, one.Before...)
		settled.Waiting += one.Waiting
	}
	return settled, errors.Join(failures...)
}

// settleOnce runs the transaction. Its COMMIT does not wait for the disk: if a
// crash loses it, the purchases are pending again and billing repeats its answers.
// A decline gives back what its purchase took of a limited stock. With skip, declines
// whose stock is locked by others stay pending.
func (s *Store) settleOnce(ctx context.Context, answers []catalog.Answer, skip bool) (settled catalog.Settlement, err error) {
	tx, err := pg.Begin(ctx, s.groups)
	if err != nil {
		return settled, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	batch := &pgx.Batch{}
	batch.Queue(`SET LOCAL synchronous_commit = off`)
	declines := declined(answers)
	var stock map[int64]catalog.Stock
	if len(declines) > 0 {
		lockStock(batch, skip, &stock, limitedOf, declines)
	}
	if skip && len(declines) > 0 {
		all := len(answers)
		if answers, err = withoutSkipped(ctx, tx, batch, answers, declines, &stock); err != nil {
			return settled, err
		}
		settled.Waiting = all - len(answers)
		batch = &pgx.Batch{}
	}
	ids := settlePurchases(batch, answers, len(declines) > 0, &settled)
	if err := tx.CommitWith(ctx, batch); err != nil {
		if len(declines) > 0 {
			err = held(err, stock)
		}
		return settled, pg.Wrap("update purchases", err)
	}
	rest := notIn(ids, settled.Written)
	if len(rest) == 0 {
		return settled, nil
	}
	settled.Before, err = pg.Rows(ctx, s.groups, "read settled purchases", scanPurchase, `
		SELECT `+purchaseColumns+`
		FROM catalog.purchases
		WHERE id = ANY($1)`, rest)
	return settled, err
}

// limitedOf is the products whose stock the pending purchases $1 have taken. They are
// read without a lock: a purchase keeps its product and what it took.
const limitedOf = `ARRAY(SELECT product_id FROM catalog.purchases WHERE id = ANY($1::uuid[]) AND stock_taken IS NOT NULL)`

func declined(answers []catalog.Answer) (ids []uuid.UUID) {
	for _, a := range answers {
		if a.Status == catalog.Declined {
			ids = append(ids, a.PurchaseID)
		}
	}
	return ids
}

// withoutSkipped runs a batch that locks stock and skips what others have locked. It
// returns the answers without the declines whose stock was skipped.
func withoutSkipped(ctx context.Context, tx *pg.Tx, batch *pgx.Batch, answers []catalog.Answer, declines []uuid.UUID, stock *map[int64]catalog.Stock) ([]catalog.Answer, error) {
	waiting := map[uuid.UUID]bool{}
	batch.Queue(`
		SELECT id, stock.product_id
		FROM catalog.purchases
		JOIN catalog.stock USING (product_id)
		WHERE id = ANY($1) AND stock_taken IS NOT NULL`, declines).Query(func(rows pgx.Rows) error {
		var id uuid.UUID
		var product int64
		_, err := pgx.ForEachRow(rows, []any{&id, &product}, func() error {
			if _, locked := (*stock)[product]; !locked {
				waiting[id] = true
			}
			return nil
		})
		return err
	})
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return nil, pg.Wrap("lock stock", err)
	}
	return slices.DeleteFunc(slices.Clone(answers), func(a catalog.Answer) bool { return waiting[a.PurchaseID] }), nil
}

// settlePurchases queues the statement that writes answers, and returns their ids. What
// goes back into stock is counted from the rows that it settles, and goes only to the
// limit that it was taken from: one that was set later has nothing of it.
func settlePurchases(batch *pgx.Batch, answers []catalog.Answer, declines bool, settled *catalog.Settlement) []uuid.UUID {
	n := len(answers)
	ids, statuses, reasons := make([]uuid.UUID, n), make([]string, n), make([]*string, n)
	balances, transactions := make([]*money.Amount, n), make([]*int64, n)
	for i, a := range answers {
		ids[i], statuses[i], balances[i], transactions[i] = a.PurchaseID, string(a.Status), a.Balance, a.TransactionID
		if a.Reason != "" {
			reasons[i] = (*string)(&answers[i].Reason)
		}
	}
	// The condition means "is pending" in words that no index has: the indexes of
	// pending purchases are full of entries just settled, and while its statistics say
	// that the table is small, Postgres would walk them for each group.
	sql := `
		UPDATE catalog.purchases
		SET status = new_status, decline_reason = new_reason, balance = new_balance, transaction_id = new_transaction, settled_at = now()
		FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
			AS answer (answered, new_status, new_reason, new_balance, new_transaction)
		WHERE id = answered AND coalesce(settled_at, 'infinity') = 'infinity'
		RETURNING id, user_id, settled_at`
	if declines {
		sql = `
		WITH settled AS (` + sql + `, product_id, status, stock_taken, stock_limit), given AS (
			UPDATE catalog.stock
			SET on_hand = on_hand + units
			FROM (
				SELECT product_id AS product, stock_limit AS taken_from, sum(stock_taken) AS units
				FROM settled
				WHERE status = 'declined' AND stock_taken > 0
				GROUP BY 1, 2
			) AS back
			WHERE product_id = product AND stock_limit = taken_from)
		SELECT id, user_id, settled_at FROM settled`
	}
	batch.Queue(sql, ids, statuses, reasons, balances, transactions).Query(func(rows pgx.Rows) (err error) {
		settled.Written, err = pgx.CollectRows(rows, pgx.RowToStructByPos[catalog.Settled])
		return err
	})
	return ids
}

func notIn(ids []uuid.UUID, written []catalog.Settled) []uuid.UUID {
	there := make(map[uuid.UUID]bool, len(written))
	for _, p := range written {
		there[p.PurchaseID] = true
	}
	var rest []uuid.UUID
	for _, id := range ids {
		if !there[id] {
			rest = append(rest, id)
		}
	}
	return rest
}
