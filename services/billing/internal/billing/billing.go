// Package billing is the domain of bills: who owns them, the ledger of what
// went in and out, and the decisions on payments and purchases. Decisions are
// pure functions; storing them is somebody else's work.
package billing

import (
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
)

// Bill is a user's account.
type Bill struct {
	ID        int64
	UserID    int64
	Balance   money.Amount
	CreatedAt time.Time
}

// The types of a transaction.
const (
	TypePayment  = "payment"
	TypePurchase = "purchase"
)

// Transaction is one line of the ledger. It is never changed.
type Transaction struct {
	ID           int64
	BillID       int64
	UserID       int64        // the bill's owner
	Amount       money.Amount // credit +, debit −
	BalanceAfter money.Amount
	Type         string
	PaymentID    *int64     // of a payment
	PurchaseID   *uuid.UUID // of a purchase
	CreatedAt    time.Time
}

// The statuses of a customer.
const (
	StatusInactive = "inactive"
	StatusActive   = "active"
	StatusDisabled = "disabled"
)

// Customer is billing's own view of a user. Version 0 is one that only a valid
// token has told of: login and status are auth's to tell.
type Customer struct {
	UserID  int64
	Login   string
	Role    string
	Status  string
	Version int64
}

// TransactionFilter says which lines of a user's history are wanted.
type TransactionFilter struct {
	UserID int64
	BillID *int64 // of this bill only
	Type   string // "" is any
	Before int64  // ids below this one; 0 is any
	Limit  int
}
