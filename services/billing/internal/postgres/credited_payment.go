package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/billing/internal/billing"
)

const creditedColumns = `payment_id, user_id, bill_id, amount, created_at, id,
	coalesce((SELECT total FROM billing.reversals r WHERE r.payment_id = t.payment_id ORDER BY total DESC LIMIT 1), 0)`

// CreditedWithin returns the payments that were credited within w, oldest first.
func (s *Store) CreditedWithin(ctx context.Context, w billing.Window) ([]billing.CreditedPayment, error) {
	where, args := within(w, "created_at")
	return pg.Collect(ctx, s.reads, "list credited payments by time", scanCredited,
		pg.Page(`SELECT `+creditedColumns+` FROM billing.transactions t WHERE payment_id IS NOT NULL AND `+where+` ORDER BY created_at, id`), args...)
}

// Credited returns the payment that was credited with this id, or missing.
func (s *Store) Credited(ctx context.Context, paymentID int64, missing error) (billing.CreditedPayment, error) {
	return pg.CollectOne(ctx, s.reads, "read credited payment", missing, scanCredited, `
		SELECT `+creditedColumns+` FROM billing.transactions t WHERE payment_id = $1`, paymentID)
}

// within returns the condition of a window, for a table with an id, and the arguments of
// the page's statement.
func within(w billing.Window, column string) (where string, args []any) {
	where, args = fmt.Sprintf(`%[1]s >= $2 AND %[1]s < $3`, column), []any{w.Limit, w.From, w.To}
	if w.After != nil {
		where += fmt.Sprintf(` AND (%s, id) > ($4, $5)`, column)
		args = append(args, w.After.At, w.After.ID)
	}
	return where, args
}

func scanCredited(row pgx.CollectableRow) (p billing.CreditedPayment, err error) {
	err = row.Scan(&p.PaymentID, &p.UserID, &p.BillID, &p.Amount, &p.At.At, &p.At.ID, &p.Reversed)
	return p, err
}

var errNone = errors.New("there is no such row")

// PaymentFacts returns what a decision on p would rest on now. Nothing is locked, so it
// may change at once.
func (s *Store) PaymentFacts(ctx context.Context, p billing.Payment) (f billing.Facts, err error) {
	known, err := s.Credited(ctx, p.ID, errNone)
	switch {
	case err == nil:
		f.Known = &billing.Payment{ID: known.PaymentID, UserID: known.UserID, BillID: known.BillID, Amount: known.Amount}
	case !errors.Is(err, errNone):
		return f, err
	}
	owner, err := s.Customer(ctx, p.UserID)
	switch {
	case err == nil:
		f.Owner = &owner
	case !errors.Is(err, billing.ErrCustomerNotFound):
		return f, err
	}
	bill, err := pg.CollectOne(ctx, s.reads, "read bill of payment", errNone, func(row pgx.CollectableRow) (b billing.Bill, err error) {
		err = row.Scan(&b.ID, &b.UserID, &b.Balance)
		return b, err
	}, `SELECT id, user_id, balance FROM billing.bills WHERE id = $1`, p.BillID)
	switch {
	case err == nil:
		f.Bill = &bill
	case !errors.Is(err, errNone):
		return f, err
	}
	return f, nil
}
