package httpapi

import (
	"context"
	"time"

	"lavka/libs/domain/filter"
	"lavka/libs/domain/problem"
	"lavka/libs/service/export"
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
	if f.When, err = filter.NewRange(r.Params.From, r.Params.To); err != nil {
		return nil, err
	}
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
	if export.Asked(ctx) {
		if err := export.Whole(r.Params.Limit, r.Params.Cursor); err != nil {
			return nil, err
		}
		return exportOf(ctx, h.exports, transactions, transactionID, func(ctx context.Context, before *int64, limit int) ([]billing.Transaction, error) {
			f.Before, f.Limit = before, limit
			return h.store.Transactions(ctx, f)
		}), nil
	}
	found, err := h.store.Transactions(ctx, f)
	if err != nil {
		return nil, err
	}
	return respond(page.Cut(ctx, "transactions", found, limit, func(t billing.Transaction) any { return t.ID }, toTransaction))
}

// entry is the place of a page in a list of all users' rows in order of id, and up to
// when the list was complete when its first page was read.
type entry struct {
	ID    int64      `json:"i"`
	Until *time.Time `json:"u"`
}

// follow returns where a page begins, and up to when the list is complete: that is taken
// here, before the page is read. The limit is one more than asked for.
func (h *Handlers) follow(list string, asked *int, cursor *string) (before *int64, until *time.Time, limit int, err error) {
	if limit, err = page.Limit(asked); err != nil {
		return nil, nil, 0, err
	}
	after, err := page.Decode[entry](list, cursor)
	switch {
	case err != nil:
		return nil, nil, 0, err
	case after != nil:
		return &after.ID, after.Until, limit + 1, nil
	}
	return nil, h.complete.Until(), limit + 1, nil
}

// ListLedger answers GET /admin/transactions.
func (h *Handlers) ListLedger(ctx context.Context, r api.ListLedgerRequestObject) (api.ListLedgerResponseObject, error) {
	list := "ledger"
	p := r.Params
	f := billing.LedgerFilter{UserID: p.UserId, BillID: p.BillId, PaymentID: p.PaymentId}
	if p.Type != nil {
		if !p.Type.Valid() {
			return nil, problem.InvalidFields(problem.Field{Field: "type", Message: "must be payment, purchase, refund or reversal"})
		}
		f.Type = string(*p.Type)
	}
	if f.Type == billing.TypePayment {
		list = "payments" // in another order, so that their cursors are no cursors of the others
	}
	var err error
	if f.When, err = filter.NewRange(p.From, p.To); err != nil {
		return nil, err
	}
	if err := f.Check(); err != nil {
		return nil, err
	}
	if export.Asked(ctx) {
		if err := export.Whole(p.Limit, p.Cursor); err != nil {
			return nil, err
		}
		return exportOf(ctx, h.exports, ledger, transactionID, func(ctx context.Context, before *int64, limit int) ([]billing.Transaction, error) {
			f.Before, f.Limit = before, limit
			return h.store.Ledger(ctx, f)
		}), nil
	}
	var until *time.Time
	if f.Before, until, f.Limit, err = h.follow(list, p.Limit, p.Cursor); err != nil {
		return nil, err
	}
	found, err := h.store.Ledger(ctx, f)
	if err != nil {
		return nil, err
	}
	cut, err := page.Cut(ctx, list, found, f.Limit-1, func(t billing.Transaction) any { return entry{t.ID, until} }, toEntry)
	if err != nil {
		return nil, err
	}
	return respond(cut.With("complete_until", until))
}

func toTransaction(t billing.Transaction) api.Transaction {
	return api.Transaction{
		Id: t.ID, BillId: t.BillID, Amount: t.Amount, BalanceAfter: t.BalanceAfter, Type: t.Type,
		PaymentId: t.PaymentID, PurchaseId: t.PurchaseID, RefundId: t.RefundID, ReversalId: t.ReversalID, CreatedAt: t.CreatedAt.UTC(),
	}
}

func toEntry(t billing.Transaction) api.LedgerEntry {
	return api.LedgerEntry{
		Id: t.ID, UserId: t.UserID, BillId: t.BillID, Amount: t.Amount, BalanceAfter: t.BalanceAfter, Type: t.Type,
		PaymentId: t.PaymentID, PurchaseId: t.PurchaseID, RefundId: t.RefundID, ReversalId: t.ReversalID, CreatedAt: t.CreatedAt.UTC(),
	}
}
