package catalog

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/filter"
	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

// Status is the state of a purchase.
type Status string

// A purchase is pending until billing's answer is written into its row; after
// that it never changes again. So is a refund.
const (
	Pending   Status = "pending"
	Completed Status = "completed"
	Declined  Status = "declined"
)

// Reason is why billing declined a purchase.
type Reason string

// The reasons.
const (
	InsufficientFunds Reason = "insufficient_funds"
	BillNotFound      Reason = "bill_not_found" // no such bill, or not the buyer's
	BuyerDisabled     Reason = "buyer_disabled"
	Expired           Reason = "expired"
)

var (
	// ErrPurchaseNotFound means that the purchase does not exist or belongs to
	// another user.
	ErrPurchaseNotFound = problem.New(problem.NotFound, "purchase_not_found", "you have no purchase with this id")
	// ErrKeyReused means that the key was used for a purchase with different content.
	ErrKeyReused = problem.New(problem.Invalid, "idempotency_key_reused", "this Idempotency-Key was already used for a different purchase; use a new key")
	// ErrNothingBought means that the database became unreachable before anything
	// was written.
	ErrNothingBought = problem.New(problem.Unavailable, "unavailable", "the database is unreachable or busy; nothing was bought; retry").Retry(time.Second)
	// ErrOutOfStock refuses an order of more units than are in stock.
	ErrOutOfStock = problem.New(problem.Conflict, "out_of_stock", "fewer units of this product are in stock than you want to buy; nothing was bought, and an Idempotency-Key can still be used")
	// ErrPendingLimit refuses an order of a user whose pending purchases hold many
	// units of a product with limited stock.
	ErrPendingLimit = problem.New(problem.TooMany, "pending_limit", "your pending purchases hold as many units of this product as a user can reserve; nothing was bought, and an Idempotency-Key can still be used; retry when they are settled").Retry(2 * time.Second)
	// ErrStockHeld refuses an order of a product whose stock is locked by other
	// transactions.
	ErrStockHeld = problem.New(problem.Unavailable, "overloaded", "too many purchases of this product are being placed; nothing was bought, and this request will not be processed later; retry").Retry(2 * time.Second)
	// ErrOverloaded refuses orders without a key when the queue is full, and all
	// new orders when too many purchases are pending.
	ErrOverloaded = problem.New(problem.Unavailable, "overloaded", "too many purchases are pending; nothing was bought, and this request will not be processed later; retry").Retry(2 * time.Second)
	// ErrAskAgain refuses orders with a key that could not be looked up: an earlier
	// request with that key may have bought something.
	ErrAskAgain = problem.New(problem.Unavailable, "outcome_unknown", "we can't check right now whether this Idempotency-Key was already used for a purchase; retry with the same key").Retry(2 * time.Second)
)

// Purchase records what was bought, by which user, from which bill. Title and
// price are the product's at the time of the purchase.
type Purchase struct {
	ID            uuid.UUID
	UserID        int64
	ProductID     int64
	Title         string
	Price         money.Amount // of one
	Quantity      int          // 1 to MaxQuantity
	Amount        money.Amount // the whole, which billing is asked to charge
	StockTaken    int          // what it took of a limited stock: its quantity, or 0
	StockLimit    int64        // the limit that it took from; 0 for none
	BillID        int64
	ExpectedPrice *money.Amount // the price that the buyer stated; nil for none
	Key           string        // Idempotency-Key; "" for none
	Status        Status
	Reason        Reason        // why it was declined; otherwise ""
	Balance       *money.Amount // the bill's, if declined for insufficient funds
	TransactionID *int64        // billing's, if completed
	Refunded      money.Amount  // the sum of its completed refunds
	CreatedAt     time.Time
	ExpiresAt     time.Time // from then on, billing declines it
	SettledAt     *time.Time
	Trace         string // W3C traceparent of the request that created it; "" for none
}

// Refusal returns a decline as the problem that the buyer gets, the first time
// and on every repeat; nil if the purchase was not declined.
func (p Purchase) Refusal() error {
	var e *problem.Error
	switch {
	case p.Status != Declined:
		return nil
	case p.Reason == InsufficientFunds:
		e = problem.New(problem.PaymentRequired, "insufficient_funds", "the balance is lower than the price").With("price", p.Price).With("amount", p.Amount)
		if p.Balance != nil {
			e = e.With("balance", *p.Balance)
		}
	case p.Reason == BillNotFound:
		e = problem.New(problem.NotFound, "bill_not_found", "you have no bill with this id")
	case p.Reason == BuyerDisabled:
		e = problem.New(problem.Forbidden, "user_disabled", "this user is disabled and can't buy; only an admin can enable them")
	case p.Reason == Expired:
		e = problem.New(problem.Conflict, "purchase_expired", "the purchase expired before it was settled; nothing was or will be charged; retry with a new key")
	default:
		return fmt.Errorf("purchase %s was declined for the unknown reason %q", p.ID, p.Reason)
	}
	return e.With("purchase_id", p.ID)
}

// Order is a request to buy. Its ID becomes the purchase's.
type Order struct {
	ID            uuid.UUID
	UserID        int64
	ProductID     int64
	Quantity      int // 0 stands for 1
	BillID        int64
	ExpectedPrice *money.Amount
	Key           string
	Trace         string // W3C traceparent of the request; "" for none
}

// MaxQuantity is the most units of a product in one purchase.
const MaxQuantity = 1000

// NewOrder returns a valid order, or a problem. The order gets its ID when it is
// accepted (see [Purchases.Buy]).
func NewOrder(userID, productID, billID int64, quantity int, expectedPrice *money.Amount, key string) (Order, error) {
	var fields []problem.Field
	if productID <= 0 {
		fields = append(fields, problem.Field{Field: "product_id", Message: "must be greater than zero"})
	}
	if billID <= 0 {
		fields = append(fields, problem.Field{Field: "bill_id", Message: "must be greater than zero"})
	}
	if quantity < 1 || quantity > MaxQuantity {
		fields = append(fields, problem.Field{Field: "quantity", Message: "must be from 1 to 1000"})
	}
	if len(fields) > 0 {
		return Order{}, problem.InvalidFields(fields...)
	}
	if expectedPrice != nil {
		if err := expectedPrice.Positive(); err != nil {
			return Order{}, problem.In("expected_price", err)
		}
	}
	return Order{UserID: userID, ProductID: productID, Quantity: quantity, BillID: billID, ExpectedPrice: expectedPrice, Key: key}, nil
}

// sameAs reports whether the order has the same content as the purchase.
func (o Order) sameAs(p Purchase) bool {
	if (o.ExpectedPrice == nil) != (p.ExpectedPrice == nil) || (o.ExpectedPrice != nil && *o.ExpectedPrice != *p.ExpectedPrice) {
		return false
	}
	return o.ProductID == p.ProductID && o.BillID == p.BillID && o.units() == max(1, p.Quantity)
}

func (o Order) units() int { return max(1, o.Quantity) }

// notPlaced returns the error for an order that was not placed. Without a key
// that is err, which promises that nothing was bought. With a key it is
// ErrAskAgain if err is temporary: an earlier order with that key may have bought
// something, and that could not be looked up.
func (o Order) notPlaced(err error) error {
	var p *problem.Error
	if o.Key != "" && errors.As(err, &p) && p.Kind == problem.Unavailable {
		return ErrAskAgain.Because(err)
	}
	return err
}

// purchase returns the purchase that the order makes of the product as it is
// now, or an error; a refused order leaves no row. A nil product does not exist.
func (o Order) purchase(product *Product) (Purchase, error) {
	if product == nil {
		return Purchase{}, ErrProductNotFound
	}
	if o.ExpectedPrice != nil && *o.ExpectedPrice != product.Price {
		return Purchase{}, problem.New(problem.Conflict, "price_changed", "the price has changed; nothing was bought").With("price", product.Price)
	}
	units := money.Amount(o.units())
	if product.Price > money.Max/units {
		return Purchase{}, problem.InvalidFields(problem.Field{Field: "quantity", Message: fmt.Sprintf("is too high for the price: the amount must be at most %s", money.Max)})
	}
	return Purchase{
		ID: o.ID, UserID: o.UserID, ProductID: o.ProductID, Title: product.Title,
		Price: product.Price, Quantity: o.units(), Amount: product.Price * units,
		BillID: o.BillID, ExpectedPrice: o.ExpectedPrice, Key: o.Key, Status: Pending, Trace: o.Trace,
	}, nil
}

// Placement is the result of an order: a purchase, or an error.
type Placement struct {
	Purchase Purchase
	Replayed bool // the purchase was made by an earlier order with the same key
	Err      error
}

// outcome returns the purchase's status, or the code of the error or decline.
func (p Placement) outcome() string {
	if p.Err != nil {
		return problem.From(p.Err).Code
	}
	if err := p.Purchase.Refusal(); err != nil {
		return problem.From(err).Code
	}
	return string(p.Purchase.Status)
}

// Unknown returns the problem for a purchase that may or may not have been made.
func Unknown(id uuid.UUID) *problem.Error {
	return problem.New(problem.Unavailable, "outcome_unknown",
		"the outcome of this purchase is not known yet; check /purchases/{purchase_id}, or retry with the same Idempotency-Key").
		With("purchase_id", id).Retry(2 * time.Second)
}

// PurchaseQuery selects which of a user's purchases to list, newest first.
type PurchaseQuery struct {
	UserID int64
	Status Status       // "" for all
	Key    string       // Idempotency-Key, of which there is one at most; "" for all. Without Status and When
	When   filter.Range // when they were placed
	Before *uuid.UUID   // the last purchase of the previous page
	Limit  int
}

// PurchaseFilter selects which purchases of all users to list, newest first.
type PurchaseFilter struct {
	UserID, BillID, ProductID *int64       // only of this one; nil for all
	Status                    Status       // "" for all
	When                      filter.Range // when they were placed
	Before                    *uuid.UUID   // the last purchase of the previous page
	Limit                     int
}

// Check returns the problem "unsupported_filter" unless an index has what f selects in
// the order of the list, and "validation_failed" if it selects too long a time. There is
// no index of bills and products: every purchase would pay for it.
func (f PurchaseFilter) Check() error {
	byUser, byStatus := f.UserID != nil, f.Status != ""
	if f.BillID != nil || f.ProductID != nil || byUser && byStatus || byStatus && f.Status != Pending {
		return filter.Unsupported("one of user_id and status=pending, each with or without from and to, or by from and to alone; the purchases from a bill are in /admin/transactions")
	}
	if byUser {
		return nil
	}
	return f.When.Window()
}
