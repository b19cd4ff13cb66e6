package httpapi

import (
	"context"

	"lavka/libs/domain/problem"
	"lavka/libs/service/page"
	"lavka/services/billing/api"
	"lavka/services/billing/internal/billing"
)

var errUserNotFound = problem.New(problem.NotFound, "user_not_found", "no user has this id")

// ListCustomers is GET /customers.
func (s *server) ListCustomers(ctx context.Context, r api.ListCustomersRequestObject) (api.ListCustomersResponseObject, error) {
	limit, err := page.Limit(r.Params.Limit)
	if err != nil {
		return nil, err
	}
	before, err := page.Decode[int64]("customers", r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	customers, err := s.store.Customers(ctx, orZero(before), limit+1)
	if err != nil {
		return nil, err
	}
	customers, next, err := page.Cut("customers", customers, limit, func(c billing.Customer) any { return c.UserID })
	if err != nil {
		return nil, err
	}
	items, err := s.withBills(ctx, customers)
	if err != nil {
		return nil, err
	}
	return api.ListCustomers200JSONResponse{Items: items, NextCursor: next}, nil
}

// GetCustomer is GET /customers/{user_id}.
func (s *server) GetCustomer(ctx context.Context, r api.GetCustomerRequestObject) (api.GetCustomerResponseObject, error) {
	c, err := s.store.Customer(ctx, r.UserId)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, errUserNotFound
	}
	items, err := s.withBills(ctx, []billing.Customer{*c})
	if err != nil {
		return nil, err
	}
	return api.GetCustomer200JSONResponse(items[0]), nil
}

// withBills adds each customer's bills.
func (s *server) withBills(ctx context.Context, customers []billing.Customer) ([]api.Customer, error) {
	ids := make([]int64, len(customers))
	items := make([]api.Customer, len(customers))
	at := make(map[int64]*api.Customer, len(customers))
	for i, c := range customers {
		ids[i], at[c.UserID] = c.UserID, &items[i]
		items[i].User.Id, items[i].User.Login = c.UserID, c.Login
		items[i].User.Role, items[i].User.Status = api.CustomerUserRole(c.Role), api.CustomerUserStatus(c.Status)
	}
	bills, err := s.store.BillsOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i := range items {
		items[i].Bills = []api.CustomerBill{} // in JSON a list, not null
	}
	for _, b := range bills {
		c := at[b.UserID]
		c.Bills = append(c.Bills, api.CustomerBill{Id: b.ID, Balance: b.Balance})
	}
	return items, nil
}
