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
	customers, err := h.store.Customers(ctx, before, limit+1)
	if err != nil {
		return nil, err
	}
	rows, err := h.withBills(ctx, customers)
	if err != nil {
		return nil, err
	}
	return respond(page.Cut(ctx, "customers", rows, limit, func(c api.Customer) any { return c.User.Id }, func(c api.Customer) api.Customer { return c }))
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

// customerBills is the list of one customer's bills. Cursors of different customers
// are the same: a bill belongs to one of them.
const customerBills = "customer bills"

// ListCustomerBills answers GET /customers/{user_id}/bills.
func (h *Handlers) ListCustomerBills(ctx context.Context, r api.ListCustomerBillsRequestObject) (api.ListCustomerBillsResponseObject, error) {
	limit, err := page.Limit(r.Params.Limit)
	if err != nil {
		return nil, err
	}
	before, err := page.Decode[int64](customerBills, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	if _, err := h.store.Customer(ctx, r.UserId); err != nil {
		return nil, err
	}
	bills, err := h.store.Bills(ctx, r.UserId, before, limit+1)
	if err != nil {
		return nil, err
	}
	return respond(page.Cut(ctx, customerBills, bills, limit, billKey, toCustomerBill))
}

func billKey(b billing.Bill) any { return b.ID }

// withBills reads the customers' newest bills and returns the customers with them, in
// the same order.
func (h *Handlers) withBills(ctx context.Context, customers []billing.Customer) ([]api.Customer, error) {
	ids := make([]int64, len(customers))
	for i, c := range customers {
		ids[i] = c.UserID
	}
	bills, err := h.store.BillsOf(ctx, ids, billing.BillsShown+1)
	if err != nil {
		return nil, err
	}
	owned := make(map[int64][]billing.Bill, len(customers))
	for _, b := range bills {
		owned[b.UserID] = append(owned[b.UserID], b)
	}
	items := make([]api.Customer, len(customers))
	for i, c := range customers {
		if items[i], err = toCustomer(c, owned[c.UserID]); err != nil {
			return nil, err
		}
	}
	return items, nil
}

// toCustomer shows a customer with the newest of their bills, of which there may be
// any number: payments create bills without limit.
func toCustomer(c billing.Customer, bills []billing.Bill) (api.Customer, error) {
	var next *string
	if len(bills) > billing.BillsShown {
		bills = bills[:billing.BillsShown]
		cursor, err := page.Encode(customerBills, billKey(bills[len(bills)-1]))
		if err != nil {
			return api.Customer{}, err
		}
		next = &cursor
	}
	customer := api.Customer{Bills: make([]api.CustomerBill, len(bills)), BillsNextCursor: next} // without bills an empty JSON list, not null
	customer.User.Id, customer.User.Login = c.UserID, c.Login
	customer.User.Role, customer.User.Status = c.Role, c.Status
	for i, b := range bills {
		customer.Bills[i] = toCustomerBill(b)
	}
	return customer, nil
}

func toCustomerBill(b billing.Bill) api.CustomerBill {
	return api.CustomerBill{Id: b.ID, Balance: b.Balance}
}
