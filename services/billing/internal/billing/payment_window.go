package billing

import (
	"time"

	"lavka/libs/domain/filter"
	"lavka/libs/domain/money"
)

// Window is a part of a list in order of time.
type Window struct {
	From, To time.Time // from From on, before To
	After    *Position // only what follows it; nil selects all
	Limit    int       // at most this many
}

// Position is the place of a row in a list in order of time.
type Position struct {
	At time.Time `json:"t"`
	ID int64     `json:"i"`
}

// NewWindow returns a Window, or the problem "validation_failed" unless from is before to
// and they are at most 31 days apart.
func NewWindow(from, to time.Time) (Window, error) {
	r, err := filter.NewRange(&from, &to)
	if err == nil {
		err = r.Window()
	}
	if err != nil {
		return Window{}, err
	}
	return Window{From: from, To: to}, nil
}

// CreditedPayment is a payment that was credited.
type CreditedPayment struct {
	PaymentID, UserID, BillID int64
	Amount                    money.Amount
	At                        Position
	Reversed                  money.Amount // the greatest total of its reversals
}

// RefusedPayment is a correctly signed payment that was refused, or a reversal.
type RefusedPayment struct {
	PaymentID, UserID, BillID int64
	ReversalID                *int64 // set if it is a reversal of the payment
	Amount                    string // exactly as received; of a reversal, the total
	Reason                    string // of the last time
	Times                     int64
	FirstAt, LastAt           time.Time
	CreditedSince             bool // the same payment was credited later, or the reversal decided
	ID                        int64
}

// Facts are what a decision on a payment rests on.
type Facts struct {
	Known *Payment  // that was credited with the same id; nil for none
	Owner *Customer // the payment's user; nil for none
	Bill  *Bill     // the payment's; nil for none
}

// Foresee returns what Pay would: whether p repeats a payment, or why it is refused.
func (p Payment) Foresee(f Facts) (repeat bool, err error) {
	if f.Bill == nil && f.Owner != nil && p.MayCreateBill() {
		f.Bill = &Bill{ID: p.BillID, UserID: p.UserID}
	}
	repeat, refusal := decidePayment(p, f.Known, f.Owner, f.Bill)
	if refusal != nil {
		return false, refusal
	}
	return repeat, nil
}
