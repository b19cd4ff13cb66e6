package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/billing/internal/billing"
)

const reversalColumns = `id, reversal_id, payment_id, bill_id, user_id, total, due, debited, shortfall, decided_at`

func scanReversal(row pgx.CollectableRow) (d billing.ReversalDecision, err error) {
	err = row.Scan(&d.ID, &d.ReversalID, &d.PaymentID, &d.BillID, &d.UserID, &d.Total, &d.Due, &d.Debited, &d.Shortfall, &d.DecidedAt)
	return d, err
}

func writeReversals(b *pgx.Batch, all []billing.ReversalDecision) {
	for _, d := range all {
		b.Queue(`
			INSERT INTO billing.reversals (id, reversal_id, payment_id, bill_id, user_id, total, due, debited, shortfall)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			d.ID, d.ReversalID, d.PaymentID, d.BillID, d.UserID, int64(d.Total), int64(d.Due), int64(d.Debited), int64(d.Shortfall))
	}
}

var errNoPayment = errors.New("no payment")

// FindPayment returns the payment that was credited with an id, or nil. It takes no
// lock: what was credited never changes, and is not visible before a synchronous
// standby has it.
func (s *Store) FindPayment(ctx context.Context, id int64) (*billing.Payment, error) {
	p, err := pg.One(ctx, s.ledger, "find payment", errNoPayment, func(row pgx.CollectableRow) (p billing.Payment, err error) {
		err = row.Scan(&p.ID, &p.UserID, &p.BillID, &p.Amount)
		return p, err
	}, `SELECT payment_id, user_id, bill_id, amount FROM billing.transactions WHERE payment_id = $1`, id)
	if errors.Is(err, errNoPayment) {
		return nil, nil
	}
	return &p, err
}

// Reversals returns decisions on reversals, newest first.
func (s *Store) Reversals(ctx context.Context, f billing.ReversalFilter) ([]billing.ReversalDecision, error) {
	where, args := `true`, []any{f.Limit}
	if f.Before != nil {
		where = `id < $2`
		args = append(args, *f.Before)
	}
	if f.Short {
		where += ` AND shortfall > 0` // an index of its own
	}
	sql := pg.Page(`SELECT ` + reversalColumns + ` FROM billing.reversals WHERE ` + where + ` ORDER BY id DESC`)
	return pg.Collect(ctx, s.reads, "list reversals", scanReversal, sql, args...)
}
