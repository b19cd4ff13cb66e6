package httpapi

import (
	"context"

	"lavka/libs/service/page"
	"lavka/services/billing/api"
	"lavka/services/billing/internal/billing"
)

// ListCustomers answers GET /customers.
func (h *Handlers) ListCustomers(ctx context.Context, r api.ListCustomersRequestObject) (api.ListCustomersResponseObject, error) {
	limit, err := page.Limit(r.Params.Limit)
	if err != nil {
		return nil, err
	}
	before, err := page.Decode[int64]("customers", r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	customers, err := h.store.Customers(ctx, orZero(before), limit+1)
	if err != nil {
		return nil, err
	}
	customers, next, err := page.Cut("customers", customers, limit, func(c billing.Customer) any { return c.UserID })
	if err != nil {
		return nil, err
	}
	items, err := h.withBills(ctx, customers)
	if err != nil {
		return nil, err
	}
	return api.ListCustomers200JSONResponse{Items: items, NextCursor: next}, nil
}

// GetCustomer answers GET /customers/{user_id}.
func (h *Handlers) GetCustomer(ctx context.Context, r api.GetCustomerRequestObject) (api.GetCustomerResponseObject, error) {
	c, err := h.store.Customer(ctx, r.UserId)
	if err != nil {
		return nil, err
	}
	items, err := h.withBills(ctx, []billing.Customer{c})
	if err != nil {
		return nil, err
	}
	return api.GetCustomer200JSONResponse(items[0]), nil
}

// withBills reads the customers' bills and returns the customers with them, in the
// same order.
func (h *Handlers) withBills(ctx context.Context, customers []billing.Customer) ([]api.Customer, error) {
	ids := make([]int64, len(customers))
	for i, c := range customers {
		ids[i] = c.UserID
	}
	bills, err := h.store.BillsOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	owned := make(map[int64][]billing.Bill, len(customers))
	for _, b := range bills {
		owned[b.UserID] = append(owned[b.UserID], b)
	}
	items := make([]api.Customer, len(customers))
	for i, c := range customers {
		items[i] = toCustomer(c, owned[c.UserID])
	}
	return items, nil
}

func toCustomer(c billing.Customer, bills []billing.Bill) api.Customer {
	customer := api.Customer{Bills: make([]api.CustomerBill, len(bills))} // without bills an empty JSON list, not null
	customer.User.Id, customer.User.Login = c.UserID, c.Login
	customer.User.Role, customer.User.Status = api.CustomerUserRole(c.Role), api.CustomerUserStatus(c.Status)
	for i, b := range bills {
		customer.Bills[i] = api.CustomerBill{Id: b.ID, Balance: b.Balance}
	}
	return customer
}
