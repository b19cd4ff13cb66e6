package billing

import (
	"testing"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

func TestDecideReversal(t *testing.T) {
	t.Parallel()
	paid := &Payment{ID: 7, UserID: 1, BillID: 10, Amount: 1000}
	first := &ReversalDecision{ReversalID: 3, PaymentID: 7, Total: 400, Due: 400, Debited: 400}
	for _, c := range []struct {
		name            string
		r               Reversal
		known           *ReversalDecision
		before, balance money.Amount
		due, debited    money.Amount
		repeat          bool
		want            *problem.Error
	}{
		{"a part", Reversal{ID: 3, PaymentID: 7, Total: 400, Payment: paid}, nil, 0, 1000, 400, 400, false, nil},
		{"all of it", Reversal{ID: 3, PaymentID: 7, Total: 1000, Payment: paid}, nil, 0, 1000, 1000, 1000, false, nil},
		{"the total is cumulative", Reversal{ID: 4, PaymentID: 7, Total: 1000, Payment: paid}, nil, 400, 600, 600, 600, false, nil},
		{"the same total under another id", Reversal{ID: 4, PaymentID: 7, Total: 400, Payment: paid}, nil, 400, 600, 0, 0, false, nil},
		{"a lower total: out of order", Reversal{ID: 4, PaymentID: 7, Total: 300, Payment: paid}, nil, 400, 600, 0, 0, false, nil},
		{"a total of zero", Reversal{ID: 4, PaymentID: 7, Total: 0, Payment: paid}, nil, 400, 600, 0, 0, false, nil},
		{"some of it is spent", Reversal{ID: 3, PaymentID: 7, Total: 400, Payment: paid}, nil, 0, 150, 400, 150, false, nil},
		{"all of it is spent", Reversal{ID: 3, PaymentID: 7, Total: 400, Payment: paid}, nil, 0, 0, 400, 0, false, nil},
		{"repeated", Reversal{ID: 3, PaymentID: 7, Total: 400, Payment: paid}, first, 400, 600, 400, 400, true, nil},
		{"repeated, signed long ago", Reversal{ID: 3, PaymentID: 7, Total: 400, Payment: paid, Expired: true}, first, 400, 600, 400, 400, true, nil},
		{"another total under the id", Reversal{ID: 3, PaymentID: 7, Total: 500, Payment: paid}, first, 400, 600, 0, 0, false, ErrReversalConflict},
		{"another payment under the id", Reversal{ID: 3, PaymentID: 8, Total: 400, Payment: paid}, first, 0, 600, 0, 0, false, ErrReversalConflict},
		{"an unknown payment under the id", Reversal{ID: 3, PaymentID: 8, Total: 400}, first, 0, 0, 0, 0, false, ErrReversalConflict},
		{"before the payment", Reversal{ID: 3, PaymentID: 7, Total: 400}, nil, 0, 0, 0, 0, false, ErrPaymentNotFound},
		{"more than was paid", Reversal{ID: 3, PaymentID: 7, Total: 1001, Payment: paid}, nil, 0, 5000, 0, 0, false, ErrReversalExceeds},
		{"signed long ago", Reversal{ID: 3, PaymentID: 7, Total: 400, Payment: paid, Expired: true}, nil, 0, 1000, 0, 0, false, ErrReversalExpired},
	} {
		d, repeat, refusal := decideReversal(c.r, c.known, c.before, c.balance)
		if repeat != c.repeat || refusal != c.want || (d == nil) != (c.want != nil) {
			t.Errorf("%s: %+v, repeat %v, %v", c.name, d, repeat, refusal)
		} else if d != nil && (d.Due != c.due || d.Debited != c.debited || d.Shortfall != c.due-c.debited) {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}

func TestNewReversal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id, payment int64
		total, code string
	}{
		{1, 1, "100", ""}, {1, 1, "0", ""}, {0, 1, "100", "invalid_id"}, {1, -1, "100", "invalid_id"},
		{1, 1, "-1", "invalid_amount"}, {1, 1, "-0", "invalid_amount"}, {1, 1, "1e2", "invalid_amount"}, {1, 1, "1.001", "invalid_amount"},
	} {
		_, err := NewReversal(c.id, c.payment, c.total)
		if code(err) != c.code {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestTheBillOfAReversal(t *testing.T) {
	t.Parallel()
	if got := (&Reversal{Payment: &Payment{BillID: 10}}).TargetBill(); got != 10 {
		t.Errorf("of a known payment: %d", got)
	}
	if got := (&Reversal{}).TargetBill(); got != 0 {
		t.Errorf("of an unknown payment: %d", got)
	}
}

// A reversal writes a transaction only if it takes something, and its bill owes only what it could not pay.
func TestWhatAReversalLeaves(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		balance      money.Amount
		transactions int
		owes         bool
	}{{100, 1, false}, {60, 1, true}, {0, 0, true}} {
		s := emptyState(noon)
		s.Bills[10] = &Bill{ID: 10, UserID: 1, Balance: c.balance}
		paid := &Payment{ID: 7, UserID: 1, BillID: 10, Amount: 100}
		r, changes := Decide(s, []Item{&Reversal{ID: 3, PaymentID: 7, Total: 100, Payment: paid}})
		if _, ok := r[0].(Reversed); !ok || len(changes.Transactions) != c.transactions || s.Owing[10] != c.owes || s.Bills[10].Balance != max(0, c.balance-100) {
			t.Errorf("with a balance of %v: %+v, %d transactions, owes %v, %v left", c.balance, r[0], len(changes.Transactions), s.Owing[10], s.Bills[10].Balance)
		}
		// A second one that adds nothing changes nothing.
		if _, changes := Decide(s, []Item{&Reversal{ID: 4, PaymentID: 7, Total: 100, Payment: paid}}); len(changes.Transactions) != 0 || s.Owing[10] != c.owes {
			t.Errorf("with a balance of %v, once more: %d transactions, owes %v", c.balance, len(changes.Transactions), s.Owing[10])
		}
	}
}
