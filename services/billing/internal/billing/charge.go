package billing

import (
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
)

// ChargeRequest is a request to charge a purchase to a bill. The purchase id is
// also the id of the charge, permanently.
type ChargeRequest struct {
	PurchaseID uuid.UUID
	UserID     int64
	BillID     int64
	Amount     money.Amount
	ExpiresAt  time.Time
	// Unreadable means that only the purchase id could be read. Such a request is
	// answered with an earlier decision if there is one, or else expires.
	Unreadable bool
	Trace      string // W3C traceparent of the message; "" for none
}

// Outcome is the outcome of a charge.
type Outcome string

// The outcomes. Settled means that the purchase was charged; every other one is
// a decline.
const (
	Settled           Outcome = "settled"
	InsufficientFunds Outcome = "insufficient_funds"
	BillNotFound      Outcome = "bill_not_found" // no such bill, or it is not the buyer's
	BuyerDisabled     Outcome = "buyer_disabled"
	Expired           Outcome = "expired"
)

// Charge is the decision on a purchase. It is stored, and immutable.
type Charge struct {
	Request       ChargeRequest
	Outcome       Outcome
	Balance       *money.Amount // after the decision; set for Settled and InsufficientFunds
	TransactionID *int64        // the debit; set for Settled
}

// decideCharge decides on a purchase that was not decided before. The bill is
// nil if it does not exist, the buyer is nil if unknown. If the outcome is
// Settled, the caller must debit the bill.
func decideCharge(r ChargeRequest, bill *Bill, buyer *Customer, now time.Time) Charge {
	c := Charge{Request: r}
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
