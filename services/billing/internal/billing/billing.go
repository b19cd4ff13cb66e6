// Package billing is the domain of bills (prepaid accounts): their owners, the
// ledger of credits and debits, and the decisions on payments and purchases.
// Decisions are pure functions; the caller stores them.
package billing

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/filter"
	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

// The errors of reads that find nothing.
var (
	ErrBillNotFound     = problem.New(problem.NotFound, "bill_not_found", "you have no bill with this id")
	ErrCustomerNotFound = problem.New(problem.NotFound, "user_not_found", "this user does not exist")
)

// Bill is a prepaid account of a user.
type Bill struct {
	ID        int64
	UserID    int64
	Balance   money.Amount
	CreatedAt time.Time
}

// Balance is what a bill held at some time.
type Balance struct {
	Amount        money.Amount
	TransactionID *int64 // the last one until then; nil if there was none
}

// NotCompleteYet returns the problem for a time up to which the ledger is not complete.
func NotCompleteYet(until time.Time) error {
	return problem.New(problem.Invalid, "not_complete_yet", "transactions of this time may still come; ask for a time before complete_until, or retry later").
		With("complete_until", until.UTC())
}

// ErrNothingKnown means that a replica does not know yet up to when the ledger is complete.
var ErrNothingKnown = problem.New(problem.Unavailable, "starting", "this replica has just started and does not know yet up to when the ledger is complete; retry").Retry(time.Second)

// MaxBills is the number of bills at which a user can open no more. Payments may
// still create bills beyond it.
const MaxBills = 1000

// BillsShown is how many of a user's bills are shown with the user, the newest.
const BillsShown = 100

// ErrTooManyBills means that a user has MaxBills bills or more.
var ErrTooManyBills = problem.New(problem.Conflict, "too_many_bills", fmt.Sprintf("a user can open bills only while they have fewer than %d", MaxBills))

// CheckNewBill returns ErrTooManyBills if a user who owns this many bills can't
// open another.
func CheckNewBill(owned int) error {
	if owned >= MaxBills {
		return ErrTooManyBills
	}
	return nil
}

// The types of a transaction. The type is that of the id which is set.
const (
	TypePayment  = "payment"
	TypePurchase = "purchase"
	TypeRefund   = "refund"
	TypeReversal = "reversal"
)

// Transaction is one entry of the ledger. It is immutable.
type Transaction struct {
	ID           int64
	BillID       int64
	UserID       int64        // the bill's owner
	Amount       money.Amount // credit +, debit −
	BalanceAfter money.Amount
	Type         string
	PaymentID    *int64     // set if Type is TypePayment
	PurchaseID   *uuid.UUID // set if Type is TypePurchase
	RefundID     *uuid.UUID // set if Type is TypeRefund
	ReversalID   *int64     // set if Type is TypeReversal
	CreatedAt    time.Time
}

// The statuses of a customer.
const (
	StatusInactive = "inactive"
	StatusActive   = "active"
	StatusDisabled = "disabled"
)

// Customer is billing's own copy of a user. Version 0 means that the user is
// known only from a valid access token: auth's message with the login and the
// status has not arrived yet.
type Customer struct {
	UserID  int64
	Login   string
	Role    string
	Status  string
	Version int64
}

// TransactionFilter selects transactions of a user.
type TransactionFilter struct {
	UserID int64
	BillID *int64       // only this bill; nil selects all
	Type   string       // only this type; "" selects all
	When   filter.Range // only of this time
	Before *int64       // only ids below this one; nil selects all
	Limit  int          // at most this many
}

// LedgerFilter selects transactions of all users.
type LedgerFilter struct {
	UserID, BillID, PaymentID *int64       // only of this one; nil selects all
	Type                      string       // only this type; "" selects all
	When                      filter.Range // only of this time
	Before                    *int64       // only ids below this one; nil selects all
	Limit                     int          // at most this many
}

// Check returns the problem "unsupported_filter" unless an index has what f selects in
// the order of the list, and "validation_failed" if it selects too long a time.
func (f LedgerFilter) Check() error {
	owners := count(f.UserID != nil, f.BillID != nil, f.PaymentID != nil, f.Type != "")
	listed := f.Type == "" || f.Type == TypePayment || f.Type == TypePurchase
	if owners > 1 || !listed || f.PaymentID != nil && !f.When.Open() {
		return filter.Unsupported("payment_id, or by one of user_id, bill_id, type=payment and type=purchase, each with or without from and to, or by from and to alone")
	}
	if f.UserID != nil || f.BillID != nil {
		return nil
	}
	return f.When.Window()
}

func count(all ...bool) (n int) {
	for _, given := range all {
		if given {
			n++
		}
	}
	return n
}
