package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/money"
	"lavka/libs/service/adminlog"
	"lavka/libs/service/pg"
	"lavka/libs/service/polledmetrics"
	"lavka/services/catalog/internal/catalog"
)

const refundColumns = `id, purchase_id, idempotency_key, user_id, bill_id, amount, asked_amount, reason, note, force, admin_id, status,
	coalesce(decline_reason, ''), refundable, transaction_id, created_at, settled_at, trace_context, coalesce(restock, 0)`

func scanRefund(row pgx.CollectableRow) (r catalog.Refund, err error) {
	err = row.Scan(&r.ID, &r.PurchaseID, &r.Key, &r.UserID, &r.BillID, &r.Amount, &r.Asked, &r.Reason, &r.Note, &r.Force, &r.AdminID, &r.Status,
		&r.Declined, &r.Refundable, &r.TransactionID, &r.CreatedAt, &r.SettledAt, &r.Trace, &r.Restock)
	return r, err
}

// refundPause is the time before another attempt to place a refund.
const refundPause = 50 * time.Millisecond

// PlaceRefund stores a refund as pending. If there is one with its key, it returns
// that one, or a problem if their contents differ. It retries after a temporary
// failure: an attempt after a COMMIT of unknown outcome finds what the first one did.
// Refunds of one purchase run one after another.
func (s *Store) PlaceRefund(ctx context.Context, r catalog.Refund) (placed catalog.Refund, repeat bool, err error) {
	err = s.refunds.Do(ctx, r.PurchaseID, func() error {
		for {
			placed, repeat, err = s.placeRefund(ctx, r)
			if err == nil || !pg.Passing(err) {
				return err
			}
			select {
			case <-ctx.Done():
				return err
			case <-time.After(refundPause):
			}
		}
	})
	return placed, repeat, pg.Wrap("place refund", err)
}

// placeRefund runs the transaction. It locks the purchase's row, so that the sum of
// its refunds can't change before the COMMIT, in this replica or another. A repeat
// waits for a synchronous standby like the first request: what the lock writes makes
// its COMMIT wait.
func (s *Store) placeRefund(ctx context.Context, r catalog.Refund) (placed catalog.Refund, repeat bool, err error) {
	err = pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		purchase, err := pg.One(ctx, tx, "lock purchase", catalog.ErrPurchaseUnknown, scanPurchase, `
			SELECT `+purchaseColumns+`
			FROM catalog.purchases
			WHERE id = $1
			FOR NO KEY UPDATE`, r.PurchaseID)
		if err != nil {
			return err
		}
		var known *catalog.Refund
		var before catalog.Refunded
		all, err := pg.Rows(ctx, tx, "read refunds", scanRefund, `SELECT `+refundColumns+` FROM catalog.refunds WHERE purchase_id = $1`, r.PurchaseID)
		if err != nil {
			return err
		}
		for i, other := range all {
			before.Count++
			if other.Status != catalog.Declined {
				before.Amount += other.Amount
				before.Restock += other.Restock
			}
			if other.Key == r.Key {
				known = &all[i]
			}
		}
		if placed, repeat, err = r.Of(purchase, known, before); err != nil || known != nil {
			return err
		}
		err = tx.QueryRow(ctx, `
			INSERT INTO catalog.refunds (id, purchase_id, idempotency_key, user_id, bill_id, amount, asked_amount, reason, note, force, admin_id, trace_context, restock, next_send_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, nullif($13, 0), now() + $14::interval)
			RETURNING created_at`, placed.ID, placed.PurchaseID, placed.Key, placed.UserID, placed.BillID, int64(placed.Amount), placed.Asked,
			placed.Reason, placed.Note, placed.Force, placed.AdminID, placed.Trace, placed.Restock, s.terms.Wait).Scan(&placed.CreatedAt)
		if err != nil {
			return pg.Wrap("insert refund", err)
		}
		return adminlog.Write(ctx, tx, Schema, adminlog.Change{
			Actor: placed.AdminID, Action: "refund.create", Subject: "purchase/" + placed.PurchaseID.String(),
			After: adminlog.Members{"refund_id": placed.ID, "amount": placed.Amount, "reason": placed.Reason, "note": placed.Note, "force": placed.Force, "restock": placed.Restock},
		})
	})
	return placed, repeat, err
}

// SettleRefunds writes answers, each for a different refund, in the order of the ids,
// so that two replicas hardly ever deadlock. It returns the refunds of all answers.
// Answers about refunds that do not exist are ignored. If the database rejects some of
// the data, or the stock to which a refund gives units back stays locked by others, each
// answer is written by itself.
func (s *Store) SettleRefunds(ctx context.Context, answers []catalog.RefundAnswer) ([]catalog.Refund, error) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	slices.SortFunc(answers, func(a, b catalog.RefundAnswer) int { return slices.Compare(a.RefundID[:], b.RefundID[:]) })
	var settled []catalog.Refund
	var err error
	for try := 1; try <= placeTries; try++ {
		if settled, err = s.settleRefunds(ctx, answers); err == nil || !pg.Passing(err) {
			break
		}
	}
	if err == nil || !pg.BadData(err) && !errors.Is(err, errStockHeld) || len(answers) == 1 {
		return settled, pg.Wrap("write answers about refunds", err)
	}
	var failures []error
	for i := range answers {
		one, err := s.SettleRefunds(context.WithoutCancel(ctx), answers[i:i+1])
		failures = append(failures, err)
		settled = append(settled, one...)
	}
	return settled, errors.Join(failures...)
}

// settleRefunds runs the transaction. Its COMMIT does not wait for the disk: if a
// crash loses it, the refunds are pending again and billing repeats its answers.
func (s *Store) settleRefunds(ctx context.Context, answers []catalog.RefundAnswer) (settled []catalog.Refund, err error) {
	n := len(answers)
	ids, statuses, reasons := make([]uuid.UUID, n), make([]string, n), make([]*string, n)
	refundable, transactions := make([]*money.Amount, n), make([]*int64, n)
	for i, a := range answers {
		ids[i], statuses[i], refundable[i], transactions[i] = a.RefundID, string(a.Status), a.Refundable, a.TransactionID
		if a.Declined != "" {
			reasons[i] = (*string)(&answers[i].Declined)
		}
	}
	tx, err := pg.Begin(ctx, s.groups)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	batch := &pgx.Batch{}
	batch.Queue(`SET LOCAL synchronous_commit = off`)
	var stock map[int64]catalog.Stock
	lockStock(batch, false, &stock, `ARRAY(
		SELECT product_id
		FROM catalog.refunds
		JOIN catalog.purchases ON purchases.id = purchase_id
		WHERE refunds.id = ANY($1::uuid[]) AND restock IS NOT NULL)`, ids)
	// What is added to a purchase, and to a limited stock, is counted from the rows that
	// this statement settles.
	batch.Queue(`
		WITH settled AS (
			UPDATE catalog.refunds
			SET status = new_status, decline_reason = new_reason, refundable = new_refundable, transaction_id = new_transaction, settled_at = now()
			FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
				AS answer (answered, new_status, new_reason, new_refundable, new_transaction)
			WHERE id = answered AND coalesce(settled_at, 'infinity') = 'infinity'
			RETURNING id AS refund_id, purchase_id, amount, status, restock
		), purchase AS (
			UPDATE catalog.purchases
			SET refunded = coalesce(refunded, 0) + added.amount
			FROM (SELECT purchase_id, sum(amount)::bigint AS amount FROM settled WHERE status = 'completed' GROUP BY purchase_id) AS added
			WHERE id = added.purchase_id
			RETURNING id, product_id
		), back AS (
			SELECT refund_id, product_id AS product, restock AS units
			FROM settled
			JOIN purchase ON purchase.id = purchase_id
			WHERE status = 'completed' AND restock > 0
		), given AS (
			UPDATE catalog.stock
			SET on_hand = on_hand + total.units
			FROM (SELECT product, sum(units)::bigint AS units FROM back GROUP BY product) AS total
			WHERE product_id = product
			RETURNING product_id, stock_limit, on_hand
		)
		INSERT INTO catalog.stock_changes (product_id, stock_limit, change, on_hand, reason, refund_id)
		SELECT product_id, stock_limit, units, on_hand, 'refund', refund_id
		FROM back
		JOIN given ON product_id = product`, ids, statuses, reasons, refundable, transactions)
	if err := tx.CommitWith(ctx, batch); err != nil {
		return nil, pg.Wrap("update refunds", held(err, stock))
	}
	return pg.Rows(ctx, s.groups, "read settled refunds", scanRefund, `
		SELECT `+refundColumns+`
		FROM catalog.refunds
		WHERE id = ANY($1) AND settled_at IS NOT NULL`, ids)
}

// RefundsOf lists the refunds of a purchase, newest first: at most
// catalog.MaxRefunds. It returns ErrPurchaseNotFound if the user has no such
// purchase; with userID 0, if there is none.
func (s *Store) RefundsOf(ctx context.Context, userID int64, q catalog.RefundQuery) ([]catalog.Refund, error) {
	owner, err := pg.CollectOne(ctx, s.reads, "find purchase", catalog.ErrPurchaseNotFound, pgx.RowTo[int64], `
		SELECT user_id FROM catalog.purchases WHERE id = $1`, q.PurchaseID)
	if err == nil && userID != 0 && owner != userID {
		err = catalog.ErrPurchaseNotFound
	}
	if err != nil {
		return nil, err
	}
	where, args := `purchase_id = $2`, []any{q.Limit, q.PurchaseID}
	if q.After != nil {
		where, args = where+` AND id < $3`, append(args, *q.After)
	}
	return pg.Collect(ctx, s.reads, "list refunds", scanRefund,
		pg.Page(`SELECT `+refundColumns+` FROM catalog.refunds WHERE `+where+` ORDER BY id DESC`), args...)
}

// AllRefunds lists refunds of all purchases, oldest first. f must have passed its
// Check.
func (s *Store) AllRefunds(ctx context.Context, f catalog.RefundFilter) ([]catalog.Refund, error) {
	where, args := `true`, []any{f.Limit}
	add := func(condition string, value any) {
		args = append(args, value)
		where += fmt.Sprintf(` AND `+condition, len(args))
	}
	if f.Status == catalog.Pending {
		// The index keeps an entry of each refund that was pending, until the table is vacuumed.
		where = `settled_at IS NULL`
	}
	if f.After != nil {
		add(`id > $%d`, *f.After)
	}
	if f.When.From != nil {
		if from := idAt(f.When.From.Add(-margin)); f.After == nil || bytes.Compare(f.After[:], from[:]) < 0 {
			add(`id >= $%d`, from)
		}
		add(placed+` >= $%d`, *f.When.From)
	}
	if f.When.To != nil {
		add(`id < $%d`, idAt(f.When.To.Add(margin)))
		add(placed+` < $%d`, *f.When.To)
	}
	sql := `SELECT ` + refundColumns + ` FROM catalog.refunds WHERE ` + where + ` ORDER BY id`
	if f.Limit > pg.PageMax {
		return pg.CollectExpensive(ctx, s.expensive, "list many refunds of all purchases", scanRefund, pg.Part(sql), args...)
	}
	return pg.CollectExpensive(ctx, s.expensive, "list refunds of all purchases", scanRefund, pg.Page(sql), args...)
}

// DueRefunds claims and returns at most limit pending refunds that are due to be sent
// again, the longest overdue first. The claim is committed when it returns.
func (s *Store) DueRefunds(ctx context.Context, limit int, backOff func(claimed int) time.Duration) (due []catalog.Refund, err error) {
	err = pg.InTx(ctx, s.background, func(tx *pg.Tx) error {
		var waits []time.Duration
		scan := func(row pgx.CollectableRow) (catalog.Refund, error) {
			var claimed int
			r, err := scanRefund(alsoScan{row, []any{&claimed}})
			waits = append(waits, backOff(claimed))
			return r, err
		}
		due, err = pg.Rows(ctx, tx, "lock due refunds", scan, `
			SELECT `+refundColumns+`, claimed
			FROM catalog.refunds
			WHERE status = 'pending' AND next_send_at <= now()
			ORDER BY next_send_at
			LIMIT $1
			FOR NO KEY UPDATE SKIP LOCKED`, limit)
		if err != nil || len(due) == 0 {
			return err
		}
		ids := make([]uuid.UUID, len(due))
		for i, r := range due {
			ids[i] = r.ID
		}
		_, err = tx.Exec(ctx, `
			UPDATE catalog.refunds
			SET next_send_at = now() + claim.wait, claimed = claimed + 1
			FROM unnest($1::uuid[], $2::interval[]) AS claim (refund_id, wait)
			WHERE id = claim.refund_id`, ids, waits)
		return pg.Wrap("move next_send_at", err)
	})
	if err != nil {
		return nil, pg.Wrap("claim due refunds", err)
	}
	return due, nil
}

var (
	refundsPending = prometheus.NewDesc("catalog_refunds_pending", "Refunds that billing has not decided, over all replicas.", nil, nil)
	refundsOldest  = prometheus.NewDesc("catalog_refunds_oldest_pending_seconds", "Age of the oldest pending refund.", nil, nil)
)

// PendingRefundMetrics returns metrics of the pending refunds, counted every 15
// seconds.
func (s *Store) PendingRefundMetrics(log *slog.Logger) *polledmetrics.Metrics {
	return &polledmetrics.Metrics{
		Name: "pending refunds", Log: log, Every: 15 * time.Second, Descs: []*prometheus.Desc{refundsPending, refundsOldest},
		Ask: func(ctx context.Context) ([]prometheus.Metric, error) {
			var pending int
			var oldest time.Duration
			err := s.background.QueryRow(ctx, `
				SELECT count(*), coalesce(now() - min(created_at), '0') FROM catalog.refunds WHERE status = 'pending'`).Scan(&pending, &oldest)
			if err != nil {
				return nil, pg.Wrap("count pending refunds", err)
			}
			return []prometheus.Metric{
				prometheus.MustNewConstMetric(refundsPending, prometheus.GaugeValue, float64(pending)),
				prometheus.MustNewConstMetric(refundsOldest, prometheus.GaugeValue, oldest.Seconds()),
			}, nil
		},
	}
}
