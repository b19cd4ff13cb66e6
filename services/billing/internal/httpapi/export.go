package httpapi

import (
	"context"
	"net/http"

	"lavka/libs/service/export"
	"lavka/services/billing/internal/billing"
)

// exported is the response of a list as an export.
type exported func(w http.ResponseWriter) error

// VisitListTransactionsResponse implements api.ListTransactionsResponseObject.
func (e exported) VisitListTransactionsResponse(w http.ResponseWriter) error { return e(w) }

// VisitListLedgerResponse implements api.ListLedgerResponseObject.
func (e exported) VisitListLedgerResponse(w http.ResponseWriter) error { return e(w) }

// VisitListReversalsResponse implements api.ListReversalsResponseObject.
func (e exported) VisitListReversalsResponse(w http.ResponseWriter) error { return e(w) }

// exportOf returns the response of a list as an export. read returns the items that
// follow the one with the id before, newest first. The first page fixes the upper end.
func exportOf[T any](ctx context.Context, e *export.Exporter, table export.Table[T], id func(T) int64, read func(ctx context.Context, before *int64, limit int) ([]T, error)) exported {
	return func(w http.ResponseWriter) error {
		return export.Write(ctx, e, w, table, func(ctx context.Context, after *T, limit int) ([]T, error) {
			if after == nil {
				return read(ctx, nil, limit)
			}
			return read(ctx, new(id(*after)), limit)
		})
	}
}

func transactionID(t billing.Transaction) int64 { return t.ID }

var transactions = export.Table[billing.Transaction]{
	Item: func(t billing.Transaction) any { return toTransaction(t) },
	Columns: []export.Column[billing.Transaction]{
		{Name: "id", Value: func(t billing.Transaction) export.Cell { return export.Value(t.ID) }},
		{Name: "bill_id", Value: func(t billing.Transaction) export.Cell { return export.Value(t.BillID) }},
		{Name: "amount", Value: func(t billing.Transaction) export.Cell { return export.Value(t.Amount) }},
		{Name: "balance_after", Value: func(t billing.Transaction) export.Cell { return export.Value(t.BalanceAfter) }},
		{Name: "type", Value: func(t billing.Transaction) export.Cell { return export.Value(t.Type) }},
		{Name: "payment_id", Value: func(t billing.Transaction) export.Cell { return export.Optional(t.PaymentID) }},
		{Name: "purchase_id", Value: func(t billing.Transaction) export.Cell { return export.Optional(t.PurchaseID) }},
		{Name: "refund_id", Value: func(t billing.Transaction) export.Cell { return export.Optional(t.RefundID) }},
		{Name: "reversal_id", Value: func(t billing.Transaction) export.Cell { return export.Optional(t.ReversalID) }},
		{Name: "created_at", Value: func(t billing.Transaction) export.Cell { return export.Time(t.CreatedAt) }},
	},
}

// ledger is the transactions of all users.
var ledger = export.Table[billing.Transaction]{
	Item: func(t billing.Transaction) any { return toEntry(t) },
	Columns: append([]export.Column[billing.Transaction]{
		{Name: "user_id", Value: func(t billing.Transaction) export.Cell { return export.Value(t.UserID) }},
	}, transactions.Columns...),
}

var reversals = export.Table[billing.ReversalDecision]{
	Item: func(d billing.ReversalDecision) any { return toBookedReversal(d) },
	Columns: []export.Column[billing.ReversalDecision]{
		{Name: "id", Value: func(d billing.ReversalDecision) export.Cell { return export.Value(d.ID) }},
		{Name: "reversal_id", Value: func(d billing.ReversalDecision) export.Cell { return export.Value(d.ReversalID) }},
		{Name: "transaction_id", Value: func(d billing.ReversalDecision) export.Cell { return export.Value(d.PaymentID) }},
		{Name: "bill_id", Value: func(d billing.ReversalDecision) export.Cell { return export.Value(d.BillID) }},
		{Name: "user_id", Value: func(d billing.ReversalDecision) export.Cell { return export.Value(d.UserID) }},
		{Name: "reversed_total", Value: func(d billing.ReversalDecision) export.Cell { return export.Value(d.Total) }},
		{Name: "debited", Value: func(d billing.ReversalDecision) export.Cell { return export.Value(d.Debited) }},
		{Name: "shortfall", Value: func(d billing.ReversalDecision) export.Cell { return export.Value(d.Shortfall) }},
		{Name: "created_at", Value: func(d billing.ReversalDecision) export.Cell { return export.Time(d.DecidedAt) }},
	},
}
