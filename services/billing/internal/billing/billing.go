// Package billing is the domain of bills (prepaid accounts): their owners, the
// ledger of credits and debits, and the decisions on payments and purchases.
// Decisions are pure functions; the caller stores them.
package billing

import (
	"fmt"
	"time"

	"github.com/google/uuid"

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
	BillID *int64 // only this bill; nil selects all
	Type   string // only this type; "" selects all
	Before *int64 // only ids below this one; nil selects all
	Limit  int    // at most this many
}
