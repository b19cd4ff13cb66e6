package httpapi

import (
	"context"
	"fmt"
	"time"

	"lavka/libs/service/idempotency"
	"lavka/libs/service/page"
	"lavka/services/billing/api"
	"lavka/services/billing/internal/billing"
)

// ListBills answers GET /bills.
func (h *Handlers) ListBills(ctx context.Context, r api.ListBillsRequestObject) (api.ListBillsResponseObject, error) {
	userID, err := h.customer(ctx)
	if err != nil {
		return nil, err
	}
	limit, err := page.Limit(r.Params.Limit)
	if err != nil {
		return nil, err
	}
	before, err := page.Decode[int64]("bills", r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	bills, err := h.store.Bills(ctx, userID, before, limit+1)
	if err != nil {
		return nil, err
	}
	return respond(page.Cut(ctx, "bills", bills, limit, billKey, toBill))
}

// CreateBill answers POST /bills.
func (h *Handlers) CreateBill(ctx context.Context, r api.CreateBillRequestObject) (api.CreateBillResponseObject, error) {
	key, err := idempotency.Key(r.Params.IdempotencyKey)
	if err != nil {
		return nil, err
	}
	userID, err := h.customer(ctx)
	if err != nil {
		return nil, err
	}
	bill, repeat, err := h.store.OpenBill(ctx, userID, key)
	if err != nil {
		return nil, err
	}
	headers := api.CreateBill201ResponseHeaders{Location: fmt.Sprintf("/bills/%d", bill.ID)}
	if repeat {
		headers.IdempotentReplayed = new("true")
	}
	return api.CreateBill201JSONResponse{Body: toBill(bill), Headers: headers}, nil
}

// GetBill answers GET /bills/{id}.
func (h *Handlers) GetBill(ctx context.Context, r api.GetBillRequestObject) (api.GetBillResponseObject, error) {
	userID, err := h.customer(ctx)
	if err != nil {
		return nil, err
	}
	bill, err := h.store.Bill(ctx, userID, r.Id)
	if err != nil {
		return nil, err
	}
	shown := toBill(bill)
	if r.Params.At != nil {
		then, err := h.balanceAt(ctx, bill.ID, *r.Params.At)
		if err != nil {
			return nil, err
		}
		shown.Balance, shown.AsOfTransactionId = then.Amount, then.TransactionID
	}
	return api.GetBill200JSONResponse(shown), nil
}

// firstTime is how long a request waits for the time up to which the ledger is complete,
// while the replica has just started.
const firstTime = 5 * time.Second

// balanceAt returns a bill's balance at a time up to which the ledger is complete.
func (h *Handlers) balanceAt(ctx context.Context, billID int64, at time.Time) (billing.Balance, error) {
	waiting, stop := context.WithTimeout(ctx, firstTime)
	defer stop()
	until := h.complete.Await(waiting)
	if until == nil {
		return billing.Balance{}, billing.ErrNothingKnown
	}
	if !at.Before(*until) {
		return billing.Balance{}, billing.NotCompleteYet(*until)
	}
	return h.store.BalanceAt(ctx, billID, at)
}

func toBill(b billing.Bill) api.Bill {
	return api.Bill{Id: b.ID, Balance: b.Balance, CreatedAt: b.CreatedAt.UTC()}
}
