package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/billing/internal/billing"
)

// RecordRefused records a correctly signed payment that was refused. Payments
// with the same content share one record, which counts them.
func (s *Store) RecordRefused(ctx context.Context, p billing.Payment, reason string) error {
	_, err := s.ledger.Exec(ctx, `
		INSERT INTO billing.refused_payments (content, payment_id, user_id, bill_id, amount, reason)
		VALUES (sha256(convert_to($1::bigint || ':' || $2::bigint || ':' || $3::bigint || ':' || $4::text, 'UTF8')), $1, $2, $3, $4, $5)
		ON CONFLICT (content) DO UPDATE SET times = refused_payments.times + 1, last_at = clock_timestamp(), reason = EXCLUDED.reason`,
		p.ID, p.UserID, p.BillID, p.AmountText, reason)
	return pg.Wrap("insert refused payment", err)
}

// RecordRefusedReversal records a correctly signed reversal that was refused, among
// the refused payments: its amount is the total. Reversals with the same content share
// one record, which counts them.
func (s *Store) RecordRefusedReversal(ctx context.Context, r billing.Reversal, reason string) error {
	var user, bill int64 // 0 if the payment is unknown
	if r.Payment != nil {
		user, bill = r.Payment.UserID, r.Payment.BillID
	}
	_, err := s.ledger.Exec(ctx, `
		INSERT INTO billing.refused_payments (content, payment_id, user_id, bill_id, amount, reason, reversal_id)
		VALUES (sha256(convert_to('reversal:' || $6::bigint || ':' || $1::bigint || ':' || $4::text, 'UTF8')), $1, $2, $3, $4, $5, $6)
		ON CONFLICT (content) DO UPDATE SET times = refused_payments.times + 1, last_at = now(), reason = EXCLUDED.reason`,
		r.PaymentID, user, bill, r.TotalText, reason, r.ID)
	return pg.Wrap("insert refused reversal", err)
}

const refusedColumns = `
	payment_id, user_id, bill_id, reversal_id, amount, reason, times, first_at, last_at,
	-- Only these have an amount that can be compared with a credit.
	CASE WHEN reversal_id IS NOT NULL THEN CASE WHEN reason IN ('payment_not_found', 'signature_expired', 'not_settled') THEN EXISTS (
	    SELECT FROM billing.reversals d
	    WHERE d.reversal_id = r.reversal_id AND d.payment_id = r.payment_id AND d.total = r.amount::numeric * 100) ELSE false END
	WHEN reason IN ('user_not_found', 'bill_owner_mismatch', 'balance_limit', 'signature_expired', 'not_settled') THEN EXISTS (
	    SELECT FROM billing.transactions t
	    WHERE t.payment_id = r.payment_id AND t.user_id = r.user_id AND t.bill_id = r.bill_id AND t.amount = r.amount::numeric * 100)
	ELSE false END, id`

// RefusedPayments calls f with every refused payment, oldest first.
func (s *Store) RefusedPayments(ctx context.Context, f func(billing.RefusedPayment) error) error {
	return forEach(ctx, s.background, "list refused payments", f, `SELECT `+refusedColumns+` FROM billing.refused_payments r ORDER BY id`)
}

// RefusedWithin returns the payments that were refused for the first time within w,
// oldest first.
func (s *Store) RefusedWithin(ctx context.Context, w billing.Window) ([]billing.RefusedPayment, error) {
	where, args := within(w, "first_at")
	return pg.Collect(ctx, s.reads, "list refused payments by time", pgx.RowToStructByPos[billing.RefusedPayment],
		pg.Page(`SELECT `+refusedColumns+` FROM billing.refused_payments r WHERE `+where+` ORDER BY first_at, id`), args...)
}

// LastRefused returns the refused payment (not a reversal of it) with this id, the newest if there are several
// contents, or missing.
func (s *Store) LastRefused(ctx context.Context, paymentID int64, missing error) (billing.RefusedPayment, error) {
	return pg.CollectOne(ctx, s.reads, "read refused payment", missing, pgx.RowToStructByPos[billing.RefusedPayment], `
		SELECT `+refusedColumns+` FROM billing.refused_payments r WHERE payment_id = $1 AND reversal_id IS NULL ORDER BY payment_id DESC, id DESC LIMIT 1`, paymentID)
}
