// Package httpapi is billing's HTTP side: decode, ask the domain, encode.
package httpapi

import (
	"context"
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/labstack/echo/v4"

	"lavka/libs/service/access"
	"lavka/services/billing/api"
	"lavka/services/billing/internal/billing"
)

// Store is what the routes read.
type Store interface {
	SaveCustomer(ctx context.Context, c billing.Customer) error
	Customers(ctx context.Context, before int64, limit int) ([]billing.Customer, error)
	Customer(ctx context.Context, userID int64) (*billing.Customer, error)
	Bills(ctx context.Context, userID, before int64, limit int) ([]billing.Bill, error)
	BillsOf(ctx context.Context, userIDs []int64) ([]billing.Bill, error)
	Bill(ctx context.Context, userID, id int64) (*billing.Bill, error)
	OpenBill(ctx context.Context, userID int64, max int) (*billing.Bill, error)
	Transactions(ctx context.Context, f billing.TransactionFilter) ([]billing.Transaction, error)
}

// server has a method for each operation of the contract.
type server struct {
	store Store
	known *lru.Cache[int64, struct{}] // users that are customers already
}

// Register adds billing's routes to e. Protected holds the middleware of the
// operations that need a token.
func Register(e *echo.Echo, store Store, webhook *Webhook, protected map[string][]echo.MiddlewareFunc) error {
	known, err := lru.New[int64, struct{}](100_000)
	if err != nil {
		return fmt.Errorf("make cache of customers: %w", err)
	}
	handler := api.NewStrictHandler(&server{store: store, known: known}, nil)
	api.RegisterHandlersWithOptions(e, handler, api.RegisterHandlersOptions{OperationMiddlewares: protected})
	e.POST("/payment/webhook", webhook.Handle)
	return nil
}

// customer gives who asks, and takes in a user of whom only the token tells: a
// payment may come before auth's news of them.
func (s *server) customer(ctx context.Context) (int64, error) {
	id := access.From(ctx)
	if s.known.Contains(id.UserID) {
		return id.UserID, nil
	}
	err := s.store.SaveCustomer(ctx, billing.Customer{UserID: id.UserID, Role: id.Role, Status: billing.StatusActive})
	if err != nil {
		return 0, err
	}
	s.known.Add(id.UserID, struct{}{})
	return id.UserID, nil
}
