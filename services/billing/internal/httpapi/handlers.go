// Package httpapi implements billing's HTTP contract: it decodes requests, calls
// the domain and encodes responses.
package httpapi

import (
	"context"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/labstack/echo/v4"

	"lavka/libs/service/access"
	"lavka/libs/service/complete"
	"lavka/libs/service/export"
	"lavka/services/billing/api"
	"lavka/services/billing/internal/billing"
)

// knownCustomers is how many callers are remembered as stored.
const knownCustomers = 100_000

// Store reads and writes what the API shows. A missing bill is
// billing.ErrBillNotFound, a missing customer billing.ErrCustomerNotFound.
type Store interface {
	SaveCustomer(ctx context.Context, c billing.Customer) error
	Customers(ctx context.Context, before *int64, limit int) ([]billing.Customer, error)
	Customer(ctx context.Context, userID int64) (billing.Customer, error)
	Bills(ctx context.Context, userID int64, before *int64, limit int) ([]billing.Bill, error)
	BillsOf(ctx context.Context, userIDs []int64, limit int) ([]billing.Bill, error)
	Bill(ctx context.Context, userID, id int64) (billing.Bill, error)
	OpenBill(ctx context.Context, userID int64, key string) (bill billing.Bill, repeat bool, err error)
	BalanceAt(ctx context.Context, billID int64, at time.Time) (billing.Balance, error)
	Transactions(ctx context.Context, f billing.TransactionFilter) ([]billing.Transaction, error)
	Ledger(ctx context.Context, f billing.LedgerFilter) ([]billing.Transaction, error)
	Reversals(ctx context.Context, f billing.ReversalFilter) ([]billing.ReversalDecision, error)
	Credited(ctx context.Context, paymentID int64, missing error) (billing.CreditedPayment, error)
	LastRefused(ctx context.Context, paymentID int64, missing error) (billing.RefusedPayment, error)
	CreditedWithin(ctx context.Context, w billing.Window) ([]billing.CreditedPayment, error)
	RefusedWithin(ctx context.Context, w billing.Window) ([]billing.RefusedPayment, error)
	PaymentFacts(ctx context.Context, p billing.Payment) (billing.Facts, error)
}

// Handlers answers the operations of the contract.
type Handlers struct {
	store     Store
	webhook   *Webhook
	reversals *Reversals
	exports   *export.Exporter
	complete  *complete.Worker            // up to when lists by time are complete
	known     *lru.Cache[int64, struct{}] // callers that are stored as customers
}

var _ api.StrictServerInterface = (*Handlers)(nil)

// New returns the Handlers of a store, and of the payment provider's payments and
// reversals. rows knows up to when lists by time that are read afterwards are complete.
func New(store Store, webhook *Webhook, reversals *Reversals, exports *export.Exporter, rows *complete.Worker) (*Handlers, error) {
	known, err := lru.New[int64, struct{}](knownCustomers)
	if err != nil {
		return nil, fmt.Errorf("create cache of customers: %w", err)
	}
	return &Handlers{store: store, webhook: webhook, reversals: reversals, exports: exports, complete: rows, known: known}, nil
}

// Register adds the contract's routes to e. protected holds the middleware of the
// operations that require a token.
func Register(e *echo.Echo, h *Handlers, protected map[string][]echo.MiddlewareFunc) {
	strict := api.NewStrictHandler(h, nil)
	api.RegisterHandlersWithOptions(e, strict, api.RegisterHandlersOptions{OperationMiddlewares: protected})
	e.POST("/payment/webhook", h.webhook.Handle)
	e.POST("/payment/reversals", h.reversals.Handle)
	e.POST("/payment/verify", h.verifier(), protected["verifyPayment"]...)
}

// customer returns the caller's user id. It stores the caller as a customer if
// they are known only from their token, because their first payment may arrive
// before auth's message about them.
func (h *Handlers) customer(ctx context.Context) (int64, error) {
	id := access.From(ctx)
	if h.known.Contains(id.UserID) {
		return id.UserID, nil
	}
	err := h.store.SaveCustomer(ctx, billing.Customer{UserID: id.UserID, Role: id.Role, Status: billing.StatusActive})
	if err != nil {
		return 0, err
	}
	h.known.Add(id.UserID, struct{}{})
	return id.UserID, nil
}
