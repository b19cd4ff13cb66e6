package billing

import (
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"lavka/libs/domain/money"
)

func TestDecideRefund(t *testing.T) {
	t.Parallel()
	purchase := uuid.New()
	paid := func(change func(*Charge)) *Charge {
		c := &Charge{Request: ChargeRequest{PurchaseID: purchase, UserID: 1, BillID: 10, Amount: 500}, Outcome: Settled}
		if change != nil {
			change(c)
		}
		return c
	}
	bill := func(balance money.Amount) *Bill { return &Bill{ID: 10, UserID: 1, Balance: balance} }
	for _, c := range []struct {
		name       string
		amount     money.Amount
		force      bool
		charge     *Charge
		bill       *Bill
		before     money.Amount
		owes       bool
		want       RefundOutcome
		after      money.Amount
		refundable money.Amount
	}{
		{"a part", 200, false, paid(nil), bill(0), 0, false, Refunded, 200, 0},
		{"all of it", 500, false, paid(nil), bill(0), 0, false, Refunded, 500, 0},
		{"the rest", 300, false, paid(nil), bill(0), 200, false, Refunded, 500, 0},
		{"more than was charged", 501, false, paid(nil), bill(0), 0, false, RefundExceeds, 0, 500},
		{"more than the rest", 301, false, paid(nil), bill(0), 200, false, RefundExceeds, 200, 300},
		{"nothing is left", 1, true, paid(nil), bill(0), 500, false, RefundExceeds, 500, 0},
		{"the bill owes", 200, false, paid(nil), bill(0), 100, true, BillOwes, 100, 0},
		{"the bill owes, by force", 200, true, paid(nil), bill(0), 100, true, Refunded, 300, 0},
		{"the bill owes, and more than the rest", 501, false, paid(nil), bill(0), 0, true, RefundExceeds, 0, 500},
		{"up to the limit of the bill", 200, false, paid(nil), bill(money.Max - 200), 0, false, Refunded, 200, 0},
		{"beyond the limit of the bill", 200, false, paid(nil), bill(money.Max - 199), 100, false, BalanceLimit, 100, 0},
		{"a purchase without a decision", 200, false, nil, bill(0), 0, false, ChargeNotFound, 0, 0},
		{"a purchase that was declined", 200, false, paid(func(c *Charge) { c.Outcome = InsufficientFunds }), bill(0), 0, false, ChargeNotFound, 0, 0},
		{"a charge to another bill", 200, true, paid(func(c *Charge) { c.Request.BillID = 11 }), bill(0), 300, false, ChargeNotFound, 0, 0},
		{"a charge to another user", 200, true, paid(func(c *Charge) { c.Request.UserID = 2 }), bill(0), 300, false, ChargeNotFound, 0, 0},
		{"no such bill", 200, true, paid(nil), nil, 300, false, ChargeNotFound, 0, 0},
	} {
		d := decideRefund(RefundRequest{RefundID: uuid.New(), PurchaseID: purchase, UserID: 1, BillID: 10, Amount: c.amount, Force: c.force}, c.charge, c.bill, c.before, c.owes)
		if d.Outcome != c.want || d.RefundedAfter != c.after || (d.Refundable != nil) != (c.want == RefundExceeds) || d.Refundable != nil && *d.Refundable != c.refundable {
			t.Errorf("%s: %+v, want %s with %d after", c.name, d, c.want, c.after)
		}
		if (d.TransactionID() != nil) != (c.want == Refunded) {
			t.Errorf("%s: transaction %v", c.name, d.TransactionID())
		}
	}
}

// In one group, a refund sees the charge, the refunds and the reversals before it.
func TestRefundsInOneGroup(t *testing.T) {
	t.Parallel()
	s := emptyState(noon)
	s.Bills[10] = &Bill{ID: 10, UserID: 1, Balance: 1000}
	s.Customers[1] = &Customer{UserID: 1, Status: StatusDisabled} // the money is theirs
	paid := &Payment{ID: 7, UserID: 1, BillID: 10, Amount: 1000}
	s.Payments[7] = paid
	bought, before := uuid.New(), uuid.New()
	s.Charges[before] = &Charge{Request: ChargeRequest{PurchaseID: before, UserID: 1, BillID: 10, Amount: 501}, Outcome: Settled}
	of := func(purchase uuid.UUID, amount money.Amount) *RefundRequest {
		return &RefundRequest{RefundID: uuid.New(), PurchaseID: purchase, UserID: 1, BillID: 10, Amount: amount}
	}
	first := of(before, 300)
	items := []Item{
		first, first, of(before, 202), of(before, 200), of(bought, 1),
		&Reversal{ID: 3, PaymentID: 7, Total: 1000, Payment: paid}, of(before, 1),
		&Payment{ID: 8, UserID: 1, BillID: 10, Amount: 1}, &Reversal{ID: 4, PaymentID: 7, Total: 1000, Payment: paid},
	}
	s.Bills[10].Balance = 400 // 900 with both refunds, so that the reversal falls short
	r, c := Decide(s, items)
	for i, want := range []RefundOutcome{Refunded, Refunded, RefundExceeds, Refunded, ChargeNotFound, "", BillOwes} {
		if d, repeat := refund(r[i]); d == nil && want != "" || d != nil && (d.Outcome != want || repeat != (i == 1)) {
			t.Errorf("item %d: %+v, want %s", i, r[i], want)
		}
	}
	if d := r[5].(Reversed).Decision; d.Debited != 900 || d.Shortfall != 100 || !s.Owing[10] {
		t.Errorf("%+v, and the bill owes: %v", d, s.Owing[10])
	}
	if len(c.Refunds) != 5 || c.Balances[10].Balance != 1 {
		t.Errorf("%+v", c)
	}
	s.Held[10] = true
	if r, c := Decide(s, []Item{first}); r[0] != (Held{}) || len(c.Refunds) != 0 {
		t.Errorf("a repeat on a bill that is held: %+v", r)
	}
}

// refund returns the decision in a result, nil if there is none, and whether it was
// made before.
func refund(r Result) (d *RefundDecision, repeat bool) {
	switch r := r.(type) {
	case RefundDecided:
		return r.Decision, false
	case RefundDecidedBefore:
		return r.Decision, true
	}
	return nil, false
}

// answeredRefund checks the result of a refund, which must be the same every time.
func (b *book) answeredRefund(t *rapid.T, asked *RefundRequest, r Result) {
	d, repeat := refund(r)
	if d == nil {
		t.Fatalf("a refund was not decided: %T %+v", r, r)
	}
	first, before := b.refunds[asked.RefundID]
	if before != repeat || before && first.ID != d.ID {
		t.Fatalf("first %+v, then %+v, repeat %v", first, d, repeat)
	}
	b.refunds[asked.RefundID] = *d
}

func (b *book) checkRefunds(t *rapid.T) {
	refunded, credits := map[uuid.UUID]money.Amount{}, map[uuid.UUID]Transaction{}
	for _, tx := range b.transactions {
		if tx.RefundID != nil {
			if _, twice := credits[*tx.RefundID]; twice {
				t.Fatalf("refund %s was credited twice", tx.RefundID)
			}
			credits[*tx.RefundID] = tx
		}
	}
	for id, d := range b.refunds {
		tx, credited := credits[id]
		if credited != (d.Outcome == Refunded) || credited && (tx.ID != d.ID || tx.Amount != d.Request.Amount || tx.BillID != d.Request.BillID) {
			t.Fatalf("%+v has the credit %+v", d, tx)
		}
		if !credited {
			continue
		}
		refunded[d.Request.PurchaseID] += tx.Amount
		if c := b.charges[d.Request.PurchaseID]; c.Outcome != Settled || c.Request.BillID != tx.BillID || c.Request.UserID != tx.UserID {
			t.Fatalf("%+v is a refund of the charge %+v", tx, c)
		}
	}
	for purchase, sum := range refunded {
		if c := b.charges[purchase]; sum > c.Request.Amount {
			t.Fatalf("%d were refunded of the charge %+v", sum, c)
		}
	}
}
