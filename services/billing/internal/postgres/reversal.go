package postgres

import (
	"context"
	"errors"
	"time"

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

// Reversals returns decisions on reversals, newest first. f must have passed its Check.
func (s *Store) Reversals(ctx context.Context, f billing.ReversalFilter) ([]billing.ReversalDecision, error) {
	l := list[billing.ReversalDecision]{
		table: "billing.reversals", id: "id", at: "decided_at", columns: reversalColumns, when: f.When,
		place: func(d billing.ReversalDecision) (int64, time.Time) { return d.ID, d.DecidedAt },
	}
	switch { // an index for each, but the few reversals of a payment, which only the provider can add to, are sorted
	case f.UserID != nil:
		l.of("user_id", *f.UserID)
	case f.BillID != nil:
		l.of("bill_id", *f.BillID)
	case f.PaymentID != nil:
		l.of("payment_id", *f.PaymentID)
	case f.Short:
		l.where(`shortfall > 0`)
	}
	return l.newest(ctx, expensively(s, scanReversal, "list reversals"), f.Before, f.Limit)
}
