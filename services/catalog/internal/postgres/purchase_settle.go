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
	for try := 1; try <= placeTries; try++ {
		if settled, err = s.settleOnce(ctx, answers); err == nil || !pg.Passing(err) {
			break
		}
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
	}
	return settled, errors.Join(failures...)
}

// settleOnce runs the transaction. Its COMMIT does not wait for the disk: if a
// crash loses it, the purchases are pending again and billing repeats its answers.
func (s *Store) settleOnce(ctx context.Context, answers []catalog.Answer) (settled catalog.Settlement, err error) {
	n := len(answers)
	ids, statuses, reasons := make([]uuid.UUID, n), make([]string, n), make([]*string, n)
	balances, transactions := make([]*money.Amount, n), make([]*int64, n)
	for i, a := range answers {
		ids[i], statuses[i], balances[i], transactions[i] = a.PurchaseID, string(a.Status), a.Balance, a.TransactionID
		if a.Reason != "" {
			reasons[i] = (*string)(&answers[i].Reason)
		}
	}
	tx, err := pg.Begin(ctx, s.groups)
	if err != nil {
		return settled, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	batch := &pgx.Batch{}
	batch.Queue(`SET LOCAL synchronous_commit = off`)
	// The condition means "is pending" in words that no index has: the indexes of
	// pending purchases are full of entries just settled, and while its statistics say
	// that the table is small, Postgres would walk them for each group.
	batch.Queue(`
		UPDATE catalog.purchases
		SET status = new_status, decline_reason = new_reason, balance = new_balance, transaction_id = new_transaction, settled_at = now()
		FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
			AS answer (answered, new_status, new_reason, new_balance, new_transaction)
		WHERE id = answered AND coalesce(settled_at, 'infinity') = 'infinity'
		RETURNING id, user_id, settled_at`, ids, statuses, reasons, balances, transactions).Query(func(rows pgx.Rows) (err error) {
		settled.Written, err = pgx.CollectRows(rows, pgx.RowToStructByPos[catalog.Settled])
		return err
	})
	if err := tx.CommitWith(ctx, batch); err != nil {
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
