package catalog

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

// Status is how far a purchase has come.
type Status string

// A purchase is pending until billing's answer is written into its row, and
// then never changes again.
const (
	Pending   Status = "pending"
	Completed Status = "completed"
	Declined  Status = "declined"
)

// Reason is why billing declined.
type Reason string

// The reasons.
const (
	InsufficientFunds Reason = "insufficient_funds"
	BillNotFound      Reason = "bill_not_found" // none, or not the buyer's
	BuyerDisabled     Reason = "buyer_disabled"
	Expired           Reason = "expired"
)

var (
	// ErrPurchaseNotFound means that there is none, or that it is somebody else's.
	ErrPurchaseNotFound = problem.New(problem.NotFound, "purchase_not_found", "there is no such purchase")
	// ErrKeyReused means that the key stands for a purchase with other content.
	ErrKeyReused = problem.New(problem.Invalid, "idempotency_key_reused", "this Idempotency-Key belongs to another purchase; take a new key for a new purchase")
	// ErrNothingBought means that the database was away before anything was written.
	ErrNothingBought = problem.New(problem.Unavailable, "unavailable", "the shop's records can't be reached now; nothing was bought; try again").Retry(time.Second)
	// ErrOverloaded is for orders without a key that find the queue full, or too
	// many purchases pending.
	ErrOverloaded = problem.New(problem.Unavailable, "overloaded", "too many purchases are waiting; nothing was bought and nothing will be; try again later").Retry(2 * time.Second)
	// ErrAskAgain is for orders with a key, which may have bought before.
	ErrAskAgain = problem.New(problem.Unavailable, "outcome_unknown", "it can't be looked up now whether this Idempotency-Key has bought already; ask again with the same key").Retry(2 * time.Second)
)

// Purchase is what was bought, by whom, from which bill. Title and price are
// those of the moment when it was made.
type Purchase struct {
	ID            uuid.UUID
	UserID        int64
	ProductID     int64
	Title         string
	Price         money.Amount
	BillID        int64
	ExpectedPrice *money.Amount // what the buyer asked for, if anything
	Key           string        // Idempotency-Key; "" for none
	Status        Status
	Reason        Reason        // of a decline
	Balance       *money.Amount // of the bill; of insufficient funds
	TransactionID *int64        // of a completed one, in billing
	CreatedAt     time.Time
	ExpiresAt     time.Time // billing declines it from then on
	SettledAt     *time.Time
	Trace         string // W3C traceparent of the request that made it; "" for none
}

// Refusal is a decline as the buyer is told, the first time and every time
// after; nil when the purchase was not declined.
func (p Purchase) Refusal() error {
	var e *problem.Error
	switch {
	case p.Status != Declined:
		return nil
	case p.Reason == InsufficientFunds:
		e = problem.New(problem.PaymentRequired, "insufficient_funds", "the bill holds less than the price").With("price", p.Price)
		if p.Balance != nil {
			e = e.With("balance", *p.Balance)
		}
	case p.Reason == BillNotFound:
		e = problem.New(problem.NotFound, "bill_not_found", "you have no such bill")
	case p.Reason == BuyerDisabled:
		e = problem.New(problem.Forbidden, "user_disabled", "this user may not buy")
	default:
		e = problem.New(problem.Conflict, "purchase_expired", "the purchase was not settled in time and never will be; nothing was charged; try again with a new key")
	}
	return e.With("purchase_id", p.ID)
}

// Order is the wish to buy. Its ID becomes the purchase's.
type Order struct {
	ID            uuid.UUID
	UserID        int64
	ProductID     int64
	BillID        int64
	ExpectedPrice *money.Amount
	Key           string
	Trace         string // W3C traceparent of the request; "" for none
}

// NewOrder makes an order, or gives a problem. An id is taken when the order
// is.
func NewOrder(userID, productID, billID int64, expectedPrice *money.Amount, key string) (Order, error) {
	var fields []problem.Field
	if productID <= 0 {
		fields = append(fields, problem.Field{Field: "product_id", Message: "must be above zero"})
	}
	if billID <= 0 {
		fields = append(fields, problem.Field{Field: "bill_id", Message: "must be above zero"})
	}
	if len(fields) > 0 {
		return Order{}, problem.InvalidFields(fields...)
	}
	if expectedPrice != nil {
		if err := expectedPrice.Positive(); err != nil {
			return Order{}, problem.In("expected_price", err)
		}
	}
	return Order{UserID: userID, ProductID: productID, BillID: billID, ExpectedPrice: expectedPrice, Key: key}, nil
}

// sameAs says whether the order asks for what the purchase is.
func (o Order) sameAs(p Purchase) bool {
	if (o.ExpectedPrice == nil) != (p.ExpectedPrice == nil) || (o.ExpectedPrice != nil && *o.ExpectedPrice != *p.ExpectedPrice) {
		return false
	}
	return o.ProductID == p.ProductID && o.BillID == p.BillID
}

// notPlaced is what the buyer hears when the order was not placed. One without a
// key hears why, which promises that nothing was bought. With a key an order of
// before may have bought, and that could not be looked up.
func (o Order) notPlaced(err error) error {
	var p *problem.Error
	if o.Key != "" && errors.As(err, &p) && p.Kind == problem.Unavailable {
		return ErrAskAgain.Because(err)
	}
	return err
}

// purchase is what becomes of the order with a product as it is now, or the
// refusal, which leaves nothing behind. A nil product is one that is not there.
func (o Order) purchase(product *Product) (Purchase, error) {
	if product == nil {
		return Purchase{}, ErrProductNotFound
	}
	if o.ExpectedPrice != nil && *o.ExpectedPrice != product.Price {
		return Purchase{}, problem.New(problem.Conflict, "price_changed", "the product has another price now; nothing was bought").With("price", product.Price)
	}
	return Purchase{
		ID: o.ID, UserID: o.UserID, ProductID: o.ProductID, Title: product.Title, Price: product.Price,
		BillID: o.BillID, ExpectedPrice: o.ExpectedPrice, Key: o.Key, Status: Pending, Trace: o.Trace,
	}, nil
}

// Placement is what became of an order: a purchase, or an error.
type Placement struct {
	Purchase Purchase
	Replayed bool // the purchase is an earlier order's with the same key
	Err      error
}

// Unknown is the answer when it can't be said whether a purchase was made.
func Unknown(id uuid.UUID) *problem.Error {
	return problem.New(problem.Unavailable, "outcome_unknown",
		"it can't be said now whether this was bought; look at /purchases/{purchase_id}, or ask again with the same Idempotency-Key").
		With("purchase_id", id).Retry(2 * time.Second)
}

// PurchaseQuery says which of a user's purchases to list, newest first.
type PurchaseQuery struct {
	UserID int64
	Status Status     // "" for all
	Before *uuid.UUID // the last one of the page before
	Limit  int
}
