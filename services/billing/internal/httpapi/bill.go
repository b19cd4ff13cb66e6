package httpapi

import (
	"context"
	"fmt"

	"lavka/libs/domain/problem"
	"lavka/libs/service/page"
	"lavka/services/billing/api"
	"lavka/services/billing/internal/billing"
)

// maxBills bounds how many bills a user may own when opening one more.
const maxBills = 1000

var (
	errBillNotFound = problem.New(problem.NotFound, "bill_not_found", "you have no bill with this id")
	errTooManyBills = problem.New(problem.Conflict, "too_many_bills", fmt.Sprintf("a user can open bills only while they have fewer than %d", maxBills))
)

// ListBills is GET /bills.
func (s *server) ListBills(ctx context.Context, r api.ListBillsRequestObject) (api.ListBillsResponseObject, error) {
	userID, err := s.customer(ctx)
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
	bills, err := s.store.Bills(ctx, userID, orZero(before), limit+1)
	if err != nil {
		return nil, err
	}
	bills, next, err := page.Cut("bills", bills, limit, func(b billing.Bill) any { return b.ID })
	if err != nil {
		return nil, err
	}
	items := make([]api.Bill, len(bills))
	for i, b := range bills {
		items[i] = bill(b)
	}
	return api.ListBills200JSONResponse{Items: items, NextCursor: next}, nil
}

// CreateBill is POST /bills.
func (s *server) CreateBill(ctx context.Context, _ api.CreateBillRequestObject) (api.CreateBillResponseObject, error) {
	userID, err := s.customer(ctx)
	if err != nil {
		return nil, err
	}
	b, err := s.store.OpenBill(ctx, userID, maxBills)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, errTooManyBills
	}
	return api.CreateBill201JSONResponse{
		Body:    bill(*b),
		Headers: api.CreateBill201ResponseHeaders{Location: fmt.Sprintf("/bills/%d", b.ID)},
	}, nil
}

// GetBill is GET /bills/{id}.
func (s *server) GetBill(ctx context.Context, r api.GetBillRequestObject) (api.GetBillResponseObject, error) {
	userID, err := s.customer(ctx)
	if err != nil {
		return nil, err
	}
	b, err := s.store.Bill(ctx, userID, r.Id)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, errBillNotFound
	}
	return api.GetBill200JSONResponse(bill(*b)), nil
}

func bill(b billing.Bill) api.Bill {
	return api.Bill{Id: b.ID, Balance: b.Balance, CreatedAt: b.CreatedAt.UTC()}
}

func orZero(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}
