package httpapi

import (
	"context"

	"lavka/libs/domain/problem"
	"lavka/libs/service/page"
	"lavka/services/billing/api"
	"lavka/services/billing/internal/billing"
)

// ListTransactions answers GET /transactions.
func (h *Handlers) ListTransactions(ctx context.Context, r api.ListTransactionsRequestObject) (api.ListTransactionsResponseObject, error) {
	userID, err := h.customer(ctx)
	if err != nil {
		return nil, err
	}
	limit, err := page.Limit(r.Params.Limit)
	if err != nil {
		return nil, err
	}
	before, err := page.Decode[int64]("transactions", r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	f := billing.TransactionFilter{UserID: userID, BillID: r.Params.BillId, Before: before, Limit: limit + 1}
	if t := r.Params.Type; t != nil {
		if !t.Valid() {
			return nil, problem.InvalidFields(problem.Field{Field: "type", Message: "must be payment, purchase, refund or reversal"})
		}
		f.Type = string(*t)
	}
	if f.BillID != nil {
		if _, err := h.store.Bill(ctx, userID, *f.BillID); err != nil {
			return nil, err
		}
	}
	transactions, err := h.store.Transactions(ctx, f)
	if err != nil {
		return nil, err
	}
	items, next, err := page.Cut(ctx, "transactions", transactions, limit, func(t billing.Transaction) any { return t.ID }, toTransaction)
	if err != nil {
		return nil, err
	}
	return api.ListTransactions200JSONResponse{Items: items, NextCursor: next}, nil
}

func toTransaction(t billing.Transaction) api.Transaction {
	return api.Transaction{
		Id: t.ID, BillId: t.BillID, Amount: t.Amount, BalanceAfter: t.BalanceAfter, Type: t.Type,
		PaymentId: t.PaymentID, PurchaseId: t.PurchaseID, RefundId: t.RefundID, ReversalId: t.ReversalID, CreatedAt: t.CreatedAt.UTC(),
	}
}
