package billing

import (
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
)

// RefundRequest is a request to give back money of a purchase. The refund id is also
// the id of the decision, permanently.
type RefundRequest struct {
	RefundID   uuid.UUID
	PurchaseID uuid.UUID
	UserID     int64 // who bought
	BillID     int64 // that the purchase was charged to
	Amount     money.Amount
	Force      bool   // also to a bill that owes
	Trace      string // W3C traceparent of the message; "" for none
}

// RefundOutcome is the outcome of a refund.
type RefundOutcome string

// The outcomes. Refunded means that the bill was credited; every other one is a
// decline.
const (
	Refunded       RefundOutcome = "refunded"
	RefundExceeds  RefundOutcome = "refund_exceeds"   // more than is left of the charge
	BalanceLimit   RefundOutcome = "balance_limit"    // the bill could not hold it
	ChargeNotFound RefundOutcome = "charge_not_found" // the purchase was not charged to this bill of this user
	BillOwes       RefundOutcome = "bill_owes"        // a reversal on the bill has left a shortfall
)

// RefundOutcomes are all outcomes.
func RefundOutcomes() []RefundOutcome {
	return []RefundOutcome{Refunded, RefundExceeds, BalanceLimit, ChargeNotFound, BillOwes}
}

// RefundDecision is the decision on a refund. It is stored, and immutable.
type RefundDecision struct {
	ID            int64 // ascending; also that of the credit, if there is one
	Request       RefundRequest
	Outcome       RefundOutcome
	RefundedAfter money.Amount  // of the purchase, after the decision; 0 for ChargeNotFound
	Refundable    *money.Amount // left of the charge; set for RefundExceeds
	DecidedAt     time.Time
}

// TransactionID returns the id of the credit, or nil if there is none.
func (d RefundDecision) TransactionID() *int64 {
	if d.Outcome != Refunded {
		return nil
	}
	return &d.ID
}

// decideRefund decides on a refund that was not decided before. The bill is nil if it
// does not exist, and charge if the purchase was not decided. Before is what was
// refunded of the purchase so far. Owes says that a reversal on the bill has left a
// shortfall. If the outcome is Refunded, the caller must credit the bill.
//
// A disabled buyer gets the money too. It is what they have paid.
func decideRefund(r RefundRequest, charge *Charge, bill *Bill, before money.Amount, owes bool) RefundDecision {
	d := RefundDecision{Request: r, RefundedAfter: before}
	switch {
	case bill == nil || !charge.paidFrom(r.BillID, r.UserID):
		// Another bill is locked than that of the charge, so before may be out of date.
		d.Outcome, d.RefundedAfter = ChargeNotFound, 0
	case r.Amount > charge.Request.Amount-before:
		d.Outcome = RefundExceeds
		refundable := charge.Request.Amount - before
		d.Refundable = &refundable
	case owes && !r.Force:
		d.Outcome = BillOwes
	case bill.Balance > money.Max-r.Amount:
		d.Outcome = BalanceLimit
	default:
		d.Outcome = Refunded
		d.RefundedAfter = before + r.Amount
	}
	return d
}

// paidFrom reports whether c debited this bill of this user.
func (c *Charge) paidFrom(billID, userID int64) bool {
	return c != nil && c.Outcome == Settled && c.Request.BillID == billID && c.Request.UserID == userID
}
