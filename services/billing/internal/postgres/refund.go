package postgres

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/domain/money"
	"lavka/services/billing/internal/billing"
)

// readRefunds reads what a group needs to decide its refunds.
func readRefunds(b *pgx.Batch, k keys, state *billing.State) {
	each(b, func(row pgx.CollectableRow) error {
		var d billing.RefundDecision
		r := &d.Request
		err := row.Scan(&d.ID, &r.RefundID, &r.PurchaseID, &r.UserID, &r.BillID, &r.Amount, &r.Force, &d.Outcome, &d.RefundedAfter, &d.Refundable, &r.Trace, &d.DecidedAt)
		state.Refunds[r.RefundID] = &d
		return err
	}, `SELECT id, refund_id, purchase_id, user_id, bill_id, amount, force, outcome, refunded_after, refundable, trace_context, decided_at
		FROM billing.refunds WHERE refund_id = ANY ($1)`, k.refunds)
	each(b, func(row pgx.CollectableRow) error {
		var purchase uuid.UUID
		var refunded money.Amount
		err := row.Scan(&purchase, &refunded)
		state.Refunded[purchase] = refunded
		return err
	}, `SELECT p.id, r.refunded_after FROM (SELECT DISTINCT unnest($1::uuid[]) AS id) AS p
		CROSS JOIN LATERAL (SELECT refunded_after FROM billing.refunds WHERE purchase_id = p.id ORDER BY refunded_after DESC LIMIT 1) AS r`, k.refunded)
	each(b, func(row pgx.CollectableRow) error {
		var bill int64
		err := row.Scan(&bill)
		state.Owing[bill] = true
		return err
	}, `SELECT b.id FROM unnest($1::bigint[]) AS b (id)
		WHERE EXISTS (SELECT FROM billing.reversals WHERE bill_id = b.id AND shortfall > 0)`, k.refundTo)
}

func writeRefunds(b *pgx.Batch, all []billing.RefundDecision) {
	for _, d := range all {
		r := d.Request
		b.Queue(`
			INSERT INTO billing.refunds (id, refund_id, purchase_id, user_id, bill_id, amount, force, outcome, refunded_after, refundable, trace_context)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			d.ID, r.RefundID, r.PurchaseID, r.UserID, r.BillID, int64(r.Amount), r.Force, string(d.Outcome), int64(d.RefundedAfter), d.Refundable, r.Trace)
	}
}
