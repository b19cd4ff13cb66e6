package catalog

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"lavka/libs/domain/filter"
	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
	"lavka/libs/domain/text"
)

// Limits of refunds.
const (
	MaxRefunds      = 100  // of one purchase, with those that were declined
	MaxRefundReason = 200  // characters
	MaxRefundNote   = 2000 // characters
)

// The reasons why billing declines a refund.
const (
	RefundExceeds  Reason = "refund_exceeds"   // more than is left of the charge
	BalanceLimit   Reason = "balance_limit"    // the bill could not hold it
	ChargeNotFound Reason = "charge_not_found" // billing has no such charge
	BillOwes       Reason = "bill_owes"        // a reversal on the bill has left a shortfall
)

// The refusals of a refund that leave no row, so that its key can be used again.
var (
	ErrPurchaseUnknown = problem.New(problem.NotFound, "purchase_not_found", "there is no purchase with this id")
	ErrNotCompleted    = problem.New(problem.Conflict, "purchase_not_completed", "only a completed purchase can be refunded; nothing was refunded")
	ErrTooManyRefunds  = problem.New(problem.Conflict, "too_many_refunds", fmt.Sprintf("this purchase has %d refunds, with those that were declined; it can have no more", MaxRefunds))
	ErrRefundKeyReused = problem.New(problem.Invalid, "idempotency_key_reused", "this Idempotency-Key was already used for a different refund of this purchase; use a new key")
	ErrRefundUnknown   = problem.New(problem.Unavailable, "outcome_unknown", "we can't tell right now whether this refund was made; retry with the same Idempotency-Key").Retry(2 * time.Second)
)

func refundExceeds(refundable money.Amount) *problem.Error {
	return problem.New(problem.Conflict, "refund_exceeds", "the amount is more than is left to refund of this purchase").With("refundable", refundable)
}

func restockExceeds(restockable int) *problem.Error {
	return problem.New(problem.Conflict, "restock_exceeds", "restock is more than the units of this purchase that no other refund has put back into stock; nothing was refunded").With("restockable", restockable)
}

// Refund gives back money of a purchase to the bill that paid. It is pending until
// billing's answer is written into its row; after that it never changes.
type Refund struct {
	ID            uuid.UUID
	PurchaseID    uuid.UUID
	Key           string // Idempotency-Key; unique for the purchase
	UserID        int64  // who bought
	BillID        int64  // where the money goes: the purchase's
	Amount        money.Amount
	Asked         *money.Amount // as asked for; nil for all that was left
	Reason        string
	Note          string // for admins; "" for none
	Force         bool   // also to a bill on which a reversal has left a shortfall
	Restock       int    // units that go back into stock when it is completed
	AdminID       int64  // who asked for it
	Status        Status
	Declined      Reason        // why billing declined it; otherwise ""
	Refundable    *money.Amount // left of the charge, if declined as RefundExceeds
	TransactionID *int64        // billing's, if completed
	CreatedAt     time.Time
	SettledAt     *time.Time
	Trace         string // W3C traceparent of the request that created it; "" for none
}

// NewRefund returns a valid refund, or a problem that names the invalid members. It
// has no amount and no bill before it is placed (see [Refund.Of]).
func NewRefund(purchaseID uuid.UUID, key string, amount *money.Amount, reason, note string, force bool, restock int, adminID int64) (Refund, error) {
	var fields []problem.Field
	if restock < 0 || restock > MaxQuantity {
		fields = append(fields, problem.Field{Field: "restock", Message: "must be from 0 to 1000"})
	}
	switch {
	case !text.Visible(reason) || utf8.RuneCountInString(reason) > MaxRefundReason:
		fields = append(fields, problem.Field{Field: "reason", Message: "must have 1 to 200 characters, and not only spaces or other invisible ones"})
	case !text.Line(reason):
		fields = append(fields, problem.Field{Field: "reason", Message: "must not have line breaks, control characters, or characters that reorder text"})
	}
	switch {
	case utf8.RuneCountInString(note) > MaxRefundNote:
		fields = append(fields, problem.Field{Field: "note", Message: "must have at most 2000 characters"})
	case !text.Block(note):
		fields = append(fields, problem.Field{Field: "note", Message: "must not have control characters other than line breaks and tabs, or characters that reorder text"})
	}
	if len(fields) > 0 {
		return Refund{}, problem.InvalidFields(fields...)
	}
	if amount != nil {
		if err := amount.Positive(); err != nil {
			return Refund{}, problem.In("amount", err)
		}
	}
	return Refund{PurchaseID: purchaseID, Key: key, Asked: amount, Reason: reason, Note: note, Force: force, Restock: restock, AdminID: adminID, Status: Pending}, nil
}

// sameAs reports whether r asks for the same as an earlier refund with its key.
// Another admin may repeat it.
func (r Refund) sameAs(earlier Refund) bool {
	if (r.Asked == nil) != (earlier.Asked == nil) || r.Asked != nil && *r.Asked != *earlier.Asked {
		return false
	}
	return r.Reason == earlier.Reason && r.Note == earlier.Note && r.Force == earlier.Force && r.Restock == earlier.Restock
}

// Of returns the refund as it is to be stored, or a problem. Known is an earlier
// refund of the purchase with the same key, or nil: if r repeats it, Of returns it,
// and if it has r's own id, an attempt to store r has succeeded after all.
// Before are the purchase's other refunds, added up. All of them must have been read
// while the purchase's row is locked.
func (r Refund) Of(p Purchase, known *Refund, before Refunded) (refund Refund, repeat bool, err error) {
	switch {
	case known != nil && r.sameAs(*known):
		return *known, known.ID != r.ID, nil
	case known != nil:
		return Refund{}, false, ErrRefundKeyReused
	case p.Status != Completed:
		return Refund{}, false, ErrNotCompleted
	case before.Count >= MaxRefunds:
		return Refund{}, false, ErrTooManyRefunds
	}
	r.UserID, r.BillID = p.UserID, p.BillID
	left := p.Amount - before.Amount
	r.Amount = left
	if r.Asked != nil {
		r.Amount = *r.Asked
	}
	if left <= 0 || r.Amount > left {
		return Refund{}, false, refundExceeds(max(0, left))
	}
	if units := p.Quantity - before.Restock; r.Restock > units {
		return Refund{}, false, restockExceeds(max(0, units))
	}
	return r, false, nil
}

// Refunded adds up refunds of a purchase.
type Refunded struct {
	Count   int          // of all, with those that were declined
	Amount  money.Amount // of those that are completed or pending
	Restock int          // the same, in units
}

// Refusal returns a decline as the problem that the admin gets, the first time and on
// every repeat; nil if the refund was not declined.
func (r Refund) Refusal() error {
	var e *problem.Error
	switch {
	case r.Status != Declined:
		return nil
	case r.Declined == RefundExceeds:
		e = refundExceeds(0)
		if r.Refundable != nil {
			e = refundExceeds(*r.Refundable)
		}
	case r.Declined == BalanceLimit:
		e = problem.New(problem.Invalid, "balance_limit", "the balance would exceed 70000000000000.00; nothing was refunded")
	case r.Declined == ChargeNotFound:
		e = problem.New(problem.Conflict, "charge_not_found", "billing has no charge of this purchase to the bill; nothing was refunded; compare the books with lavka verify")
	case r.Declined == BillOwes:
		e = problem.New(problem.Conflict, "bill_owes", "a reversal of a payment has left a shortfall on this bill; nothing was refunded; to refund all the same, use a new Idempotency-Key and force")
	default:
		return fmt.Errorf("refund %s was declined for the unknown reason %q", r.ID, r.Declined)
	}
	return e.With("refund_id", r.ID)
}

// RefundAnswer is billing's decision on a refund.
type RefundAnswer struct {
	RefundID      uuid.UUID
	Status        Status        // Completed or Declined
	Declined      Reason        // if declined
	Refundable    *money.Amount // if declined as RefundExceeds
	TransactionID *int64        // if completed
}

// RefundFilter selects which refunds of all purchases to list, oldest first.
type RefundFilter struct {
	UserID, BillID *int64       // only of this one; nil for all
	Status         Status       // "" for all
	When           filter.Range // when they were requested
	After          *uuid.UUID   // the last refund of the previous page
	Limit          int
}

// Check returns the problem "unsupported_filter" unless an index has what f selects in
// the order of the list, and "validation_failed" if it selects too long a time.
func (f RefundFilter) Check() error {
	if f.UserID != nil || f.BillID != nil || f.Status != "" && f.Status != Pending {
		return filter.Unsupported("status=pending, with or without from and to, or by from and to alone; what was credited to a bill is in /admin/transactions")
	}
	return f.When.Window()
}

// RefundQuery selects refunds of a purchase, newest first.
type RefundQuery struct {
	PurchaseID uuid.UUID
	After      *uuid.UUID // the last refund of the previous page
	Limit      int
}
