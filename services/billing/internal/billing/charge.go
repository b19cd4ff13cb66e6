package billing

import (
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
)

// ChargeRequest asks for a purchase to be charged to a bill. The purchase id
// is the charge's id for ever.
type ChargeRequest struct {
	PurchaseID uuid.UUID
	UserID     int64
	BillID     int64
	Amount     money.Amount
	ExpiresAt  time.Time
	// Unreadable is a request of which only the purchase id could be read: it
	// is answered with what was decided before, or expires.
	Unreadable bool
	Trace      string // W3C traceparent of the message; "" for none
}

// Outcome is how a charge was decided.
type Outcome string

// The outcomes: one settles, the others decline.
const (
	Settled           Outcome = "settled"
	InsufficientFunds Outcome = "insufficient_funds"
	BillNotFound      Outcome = "bill_not_found" // none, or not the buyer's
	BuyerDisabled     Outcome = "buyer_disabled"
	Expired           Outcome = "expired"
)

// Charge is the decision on a purchase. It is stored, and never changed.
type Charge struct {
	ChargeRequest
	Outcome       Outcome
	Balance       *money.Amount // after the decision; of Settled and InsufficientFunds
	TransactionID *int64        // of Settled
}

// decideCharge decides on a purchase that was not decided before. The bill is
// nil when there is none. Settled means that the caller debits the bill.
func decideCharge(r ChargeRequest, bill *Bill, buyer *Customer, now time.Time) Charge {
	c := Charge{ChargeRequest: r}
	switch {
	case !now.Before(r.ExpiresAt):
		c.Outcome = Expired
	case bill == nil || bill.UserID != r.UserID:
		c.Outcome = BillNotFound
	case buyer != nil && buyer.Status == StatusDisabled:
		c.Outcome = BuyerDisabled
	case bill.Balance < r.Amount:
		c.Outcome = InsufficientFunds
		balance := bill.Balance
		c.Balance = &balance
	default:
		c.Outcome = Settled
		balance := bill.Balance - r.Amount
		c.Balance = &balance
	}
	return c
}
