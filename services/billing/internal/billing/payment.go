package billing

import (
	"time"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

// Payment is a top-up requested by the payment provider. The provider assigns
// the id, which is permanently unique.
type Payment struct {
	ID         int64
	UserID     int64
	BillID     int64
	Amount     money.Amount
	AmountText string // exactly as received; this text is what the provider signed
}

// The reasons to refuse a payment, in the order in which they are checked.
var (
	ErrInvalidID           = problem.New(problem.Invalid, "invalid_id", "transaction_id, user_id and bill_id must be greater than zero")
	ErrTransactionConflict = problem.New(problem.Conflict, "transaction_conflict", "this transaction_id was already credited with a different user, bill or amount; use a new transaction_id")
	ErrUnknownUser         = problem.New(problem.NotFound, "user_not_found", "unknown user (a new user may not have reached billing yet); retry the same payment").Retry(5 * time.Second)
	ErrOwnerMismatch       = problem.New(problem.Conflict, "bill_owner_mismatch", "the bill belongs to another user")
	ErrBalanceLimit        = problem.New(problem.Invalid, "balance_limit", "the balance would exceed 70000000000000.00")
)

// NewPayment validates a payment. It returns the problem "invalid_id" or
// "invalid_amount" if a value is not valid.
func NewPayment(id, userID, billID int64, amountText string) (Payment, error) {
	p := Payment{ID: id, UserID: userID, BillID: billID, AmountText: amountText}
	if id <= 0 || userID <= 0 || billID <= 0 {
		return p, ErrInvalidID
	}
	amount, err := money.Parse(amountText)
	if err != nil {
		return p, problem.In("amount", err)
	}
	p.Amount = amount
	return p, problem.In("amount", amount.Positive())
}

// decidePayment decides on a payment. Known is the payment that was credited
// earlier with the same id, or nil. The owner is nil if the user is unknown.
// decidePayment reports whether p repeats the known payment. If p is neither a
// repeat nor refused, the caller must credit the bill.
func decidePayment(p Payment, known *Payment, owner *Customer, bill *Bill) (repeat bool, refusal *problem.Error) {
	switch {
	case known != nil && known.UserID == p.UserID && known.BillID == p.BillID && known.Amount == p.Amount:
		return true, nil
	case known != nil:
		return false, ErrTransactionConflict
	case owner == nil:
		return false, ErrUnknownUser
	case bill.UserID != p.UserID:
		return false, ErrOwnerMismatch
	case bill.Balance > money.Max-p.Amount:
		return false, ErrBalanceLimit
	}
	return false, nil
}
