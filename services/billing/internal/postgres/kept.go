package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/billing/internal/billing"
)

// keptBody is how much of a rejected message is stored, in bytes.
const keptBody = 4 << 10

// RecordRefused records a correctly signed payment that was refused. Payments
// with the same content share one record, which counts them.
func (s *Store) RecordRefused(ctx context.Context, p billing.Payment, reason string) error {
	_, err := s.ledger.Exec(ctx, `
		INSERT INTO billing.refused_payments (content, payment_id, user_id, bill_id, amount, reason)
		VALUES (sha256(convert_to($1::bigint || ':' || $2::bigint || ':' || $3::bigint || ':' || $4::text, 'UTF8')), $1, $2, $3, $4, $5)
		ON CONFLICT (content) DO UPDATE SET times = refused_payments.times + 1, last_at = now(), reason = EXCLUDED.reason`,
		p.ID, p.UserID, p.BillID, p.AmountText, reason)
	return pg.Wrap("insert refused payment", err)
}

// RefusedPayment is a correctly signed payment that was refused.
type RefusedPayment struct {
	PaymentID, UserID, BillID int64
	Amount                    string // exactly as received
	Reason                    string
	Times                     int64
	FirstAt, LastAt           time.Time
	CreditedSince             bool // the same payment was credited later
}

// RefusedPayments calls f with every refused payment, oldest first.
func (s *Store) RefusedPayments(ctx context.Context, f func(RefusedPayment) error) error {
	rows, err := s.pool.Query(ctx, `
		SELECT payment_id, user_id, bill_id, amount, reason, times, first_at, last_at,
		       -- Only these have an amount that can be compared with a credit.
		       CASE WHEN reason IN ('user_not_found', 'bill_owner_mismatch', 'balance_limit', 'not_settled') THEN EXISTS (
		           SELECT FROM billing.transactions t
		           WHERE t.payment_id = r.payment_id AND t.user_id = r.user_id AND t.bill_id = r.bill_id AND t.amount = r.amount::numeric * 100)
		       ELSE false END
		FROM billing.refused_payments r ORDER BY id`)
	if err != nil {
		return pg.Wrap("list refused payments", err)
	}
	return forEach(rows, "list refused payments", f)
}

// RejectedMessage is a purchase request that could not be parsed or stored.
type RejectedMessage struct {
	Key             string
	PurchaseID      *uuid.UUID
	Body            []byte
	Reason          string
	Times           int64
	FirstAt, LastAt time.Time
}

// RejectedMessages calls f with every rejected message, oldest first.
func (s *Store) RejectedMessages(ctx context.Context, f func(RejectedMessage) error) error {
	rows, err := s.pool.Query(ctx, `
		SELECT key, purchase_id, body, reason, times, first_at, last_at FROM billing.rejected_messages ORDER BY id`)
	if err != nil {
		return pg.Wrap("list rejected messages", err)
	}
	return forEach(rows, "list rejected messages", f)
}

// RecordRejected records a rejected message and returns when it was first seen.
// Messages with the same purchase id, or without one the same body, share one
// record, which counts them.
func (s *Store) RecordRejected(ctx context.Context, purchaseID *uuid.UUID, body []byte, reason string) (firstAt time.Time, err error) {
	sum := sha256.Sum256(body)
	key := "sha256:" + hex.EncodeToString(sum[:])
	if purchaseID != nil {
		key = purchaseID.String()
	}
	err = s.pool.QueryRow(ctx, `
		INSERT INTO billing.rejected_messages (key, purchase_id, body, reason) VALUES ($1, $2, $3, $4)
		ON CONFLICT (key) DO UPDATE SET times = rejected_messages.times + 1, last_at = now(), reason = EXCLUDED.reason
		RETURNING first_at`, key, purchaseID, body[:min(len(body), keptBody)], reason).Scan(&firstAt)
	return firstAt, pg.Wrap("insert rejected message", err)
}

func forEach[T any](rows pgx.Rows, what string, f func(T) error) error {
	defer rows.Close()
	for rows.Next() {
		row, err := pgx.RowToStructByPos[T](rows)
		if err != nil {
			return pg.Wrap(what, err)
		}
		if err := f(row); err != nil {
			return err
		}
	}
	return pg.Wrap(what, rows.Err())
}
