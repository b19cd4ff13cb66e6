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
	Expired    bool   // signed too long ago to be credited, but not to be a repeat
}

// MaxNewBill is the highest id of a bill that a payment may create: 2^53 − 1, above
// which a program that holds numbers as floats, such as a browser's, can neither show
// nor use the bill (RFC 8259, section 6). Bills with higher ids that exist stay usable.
const MaxNewBill = 1<<53 - 1

// The reasons to refuse a payment, in the order in which they are checked.
var (
	ErrInvalidID           = problem.New(problem.Invalid, "invalid_id", "transaction_id, user_id and bill_id must be greater than zero")
	ErrBillID              = problem.New(problem.Invalid, "invalid_id", "this bill does not exist, and a new bill's id must be at most 9007199254740991 (2^53 - 1), since many programs can't hold higher numbers exactly")
	ErrTransactionConflict = problem.New(problem.Conflict, "transaction_conflict", "this transaction_id was already credited with a different user, bill or amount; use a new transaction_id")
	ErrSignatureExpired    = problem.New(problem.Forbidden, "signature_expired", "the signature is right, but its time is more than 5 minutes away from the server's, and this payment was not credited; check the clock, and sign the payment again")
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

// MayCreateBill reports whether the payment's bill may be created if it does not exist.
func (p Payment) MayCreateBill() bool { return p.BillID <= MaxNewBill && !p.Expired }

// decidePayment decides on a payment. Known is the payment that was credited
// earlier with the same id, or nil. An expired payment can only be a repeat. The owner
// is nil if the user is unknown. The bill is nil if it does not exist and the user is
// unknown or the payment may not create it. decidePayment reports whether p repeats the known payment. If p is neither a
// repeat nor refused, the caller must credit the bill.
func decidePayment(p Payment, known *Payment, owner *Customer, bill *Bill) (repeat bool, refusal *problem.Error) {
	switch {
	case known != nil && known.UserID == p.UserID && known.BillID == p.BillID && known.Amount == p.Amount:
		return true, nil
	case known != nil:
		return false, ErrTransactionConflict
	case p.Expired:
		return false, ErrSignatureExpired
	case bill == nil && !p.MayCreateBill():
		return false, ErrBillID
	case owner == nil:
		return false, ErrUnknownUser
	case bill.UserID != p.UserID:
		return false, ErrOwnerMismatch
	case bill.Balance > money.Max-p.Amount:
		return false, ErrBalanceLimit
	}
	return false, nil
}
