package billing

import (
	"time"

	"lavka/libs/domain/filter"
	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

// Reversal is a chargeback: the payment provider has given money of a payment back
// to the user who paid. The provider assigns the id, which is permanently unique.
type Reversal struct {
	ID        int64
	PaymentID int64
	Total     money.Amount // of the payment, reversed so far: this reversal and all earlier ones
	TotalText string       // exactly as received
	Expired   bool         // signed too long ago: only an earlier decision may be repeated

	// Payment is the credit to reverse, which never changes; nil if there is none yet.
	Payment *Payment
}

// ReversalDecision is the decision on a reversal. It is stored, and immutable.
type ReversalDecision struct {
	ID         int64 // ascending; also that of the debit, if there is one
	ReversalID int64
	PaymentID  int64
	BillID     int64
	UserID     int64
	Total      money.Amount
	Due        money.Amount // what of Total no earlier reversal of the payment had
	Debited    money.Amount // of Due, what the bill held
	Shortfall  money.Amount // of Due, the rest
	DecidedAt  time.Time
}

// ReversalFilter selects decisions on reversals.
type ReversalFilter struct {
	UserID, BillID, PaymentID *int64       // only of this one; nil selects all
	Short                     bool         // only those with a shortfall
	When                      filter.Range // only of this time
	Before                    *int64       // only ids below this one; nil selects all
	Limit                     int          // at most this many
}

// Check returns the problem "unsupported_filter" unless an index has what f selects in
// the order of the list, and "validation_failed" if it selects too long a time.
func (f ReversalFilter) Check() error {
	if count(f.UserID != nil, f.BillID != nil, f.PaymentID != nil, f.Short) > 1 || f.PaymentID != nil && !f.When.Open() {
		return filter.Unsupported("payment_id, or by one of user_id, bill_id and shortfall, each with or without from and to, or by from and to alone")
	}
	if f.UserID != nil || f.BillID != nil {
		return nil
	}
	return f.When.Window()
}

// The reasons to refuse a reversal, in the order in which they are checked.
var (
	ErrInvalidReversalID = problem.New(problem.Invalid, "invalid_id", "reversal_id and transaction_id must be greater than zero")
	ErrNegativeTotal     = problem.In("reversed_total", problem.New(problem.Invalid, "invalid_amount", "an amount must not be negative"))
	ErrReversalConflict  = problem.New(problem.Conflict, "transaction_conflict", "this reversal_id was already used with a different transaction_id or reversed_total; use a new reversal_id")
	ErrReversalExpired   = problem.New(problem.Forbidden, "signature_expired", "the signature is right, but its time is more than 5 minutes away from the server's, and this reversal was not booked; check the clock, and sign the reversal again")
	ErrPaymentNotFound   = problem.New(problem.NotFound, "payment_not_found", "no payment with this transaction_id was credited, or not yet; retry the same reversal").Retry(5 * time.Second)
	ErrReversalExceeds   = problem.New(problem.Conflict, "reversal_exceeds", "reversed_total is more than the payment credited")
)

// NewReversal validates a reversal. It returns the problem "invalid_id" or
// "invalid_amount" if a value is not valid.
func NewReversal(id, paymentID int64, totalText string) (Reversal, error) {
	r := Reversal{ID: id, PaymentID: paymentID, TotalText: totalText}
	if id <= 0 || paymentID <= 0 {
		return r, ErrInvalidReversalID
	}
	total, err := money.Parse(totalText)
	if err != nil {
		return r, problem.In("reversed_total", err)
	}
	if total < 0 {
		return r, ErrNegativeTotal
	}
	r.Total = total
	return r, nil
}

// decideReversal decides on a reversal. Known is the decision on an earlier one with
// the same id, or nil. Before is the greatest total of the payment's earlier reversals,
// and balance what its bill holds. If decideReversal neither repeats nor refuses, the
// caller must store the decision and debit the bill.
func decideReversal(r Reversal, known *ReversalDecision, before, balance money.Amount) (d *ReversalDecision, repeat bool, refusal *problem.Error) {
	switch {
	case known != nil && known.PaymentID == r.PaymentID && known.Total == r.Total:
		return known, true, nil
	case known != nil:
		return nil, false, ErrReversalConflict
	case r.Expired:
		return nil, false, ErrReversalExpired
	case r.Payment == nil:
		return nil, false, ErrPaymentNotFound
	case r.Total > r.Payment.Amount:
		return nil, false, ErrReversalExceeds
	}
	due := max(0, r.Total-before)
	debited := min(due, balance) // a bill never goes below zero
	return &ReversalDecision{
		ReversalID: r.ID, PaymentID: r.PaymentID, BillID: r.Payment.BillID, UserID: r.Payment.UserID,
		Total: r.Total, Due: due, Debited: debited, Shortfall: due - debited,
	}, false, nil
}
