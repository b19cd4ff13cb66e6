package postgres_test

import (
	"sync"
	"testing"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
	"lavka/services/billing/internal/billing"
	"lavka/services/billing/internal/postgres"
)

// refund returns a request to refund a part of a purchase.
func refund(of *billing.ChargeRequest, amount money.Amount) *billing.RefundRequest {
	return &billing.RefundRequest{RefundID: uuid.New(), PurchaseID: of.PurchaseID, UserID: of.UserID, BillID: of.BillID, Amount: amount}
}

// Refunds of one purchase, each in a group of its own, in the order of the table.
func TestRefunds(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.Settle(t.Context(), []billing.Item{payment(1, 9, 10, 1000), payment(2, 2, 20, 600)})
	bought := purchase(9, 10, 400) // user 9 is disabled only after buying
	s.exec(t, `UPDATE billing.customers SET status = 'active' WHERE user_id = 9`)
	s.Settle(t.Context(), []billing.Item{bought})
	s.exec(t, `UPDATE billing.customers SET status = 'disabled' WHERE user_id = 9`)
	to := func(r *billing.RefundRequest, bill, user int64) *billing.RefundRequest {
		r.BillID, r.UserID = bill, user
		return r
	}
	first := refund(bought, 100)
	forced := refund(bought, 50)
	forced.Force = true
	for _, c := range []struct {
		name    string
		r       *billing.RefundRequest
		want    string
		balance money.Amount
	}{
		{"a part, to a disabled buyer", first, "refunded", 700},
		{"repeated", first, "refunded again", 700},
		{"more than the rest", refund(bought, 301), "refund_exceeds", 700},
		{"to another bill", to(refund(bought, 100), 20, 2), "charge_not_found", 700},
		{"to another bill of the buyer", to(refund(bought, 100), 20, 9), "charge_not_found", 700},
		{"to a bill that does not exist", to(refund(bought, 100), 404, 9), "charge_not_found", 700},
		{"of a purchase that was not charged", refund(purchase(9, 10, 400), 100), "charge_not_found", 700},
		{"to a bill that owes", refund(bought, 50), "bill_owes", 0},
		{"by force", forced, "refunded", 50},
		{"beyond what a bill holds", refund(bought, 50), "balance_limit", money.Max - 49},
		{"the rest", refund(bought, 250), "refunded", 250},
		{"the first, repeated", first, "refunded again", 250},
		{"nothing is left", refund(bought, 1), "refund_exceeds", 250},
	} {
		switch c.want {
		case "bill_owes": // the payment is taken back, and 3.00 of it is missing
			s.reverse(t, s.Store, 1, 1, 1000)
		case "balance_limit":
			c.r.Force = true
			s.exec(t, `UPDATE billing.bills SET balance = $1 WHERE id = 10`, int64(money.Max-49))
		}
		if c.name == "the rest" {
			c.r.Force = true
			s.exec(t, `UPDATE billing.bills SET balance = 0 WHERE id = 10`)
		}
		r := s.Settle(t.Context(), []billing.Item{c.r})[0]
		if got := outcome(r); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if b := s.balance(t, 10); b != c.balance {
			t.Errorf("%s: the balance is %s, want %s", c.name, b, c.balance)
		}
		if c.balance == 700 || c.balance == 0 {
			s.verify(t)
		}
	}
	again, err := s.Transactions(t.Context(), billing.TransactionFilter{UserID: 9, Type: billing.TypeRefund, Limit: 10})
	if err != nil || len(again) != 3 || again[2].Type != billing.TypeRefund || *again[2].RefundID != first.RefundID || again[2].Amount != 100 {
		t.Errorf("%+v, %v", again, err)
	}
}

// A decline is repeated as it was decided, also when the reason for it has gone.
func TestADeclinedRefundIsRepeated(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	bought := purchase(1, 10, 400)
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 400), bought})
	tooMuch, early := refund(bought, 500), refund(purchase(1, 10, 1), 1)
	s.Settle(t.Context(), []billing.Item{tooMuch, early, refund(bought, 150)})
	r := s.Settle(t.Context(), []billing.Item{tooMuch, early})
	d := r[0].(billing.RefundDecidedBefore).Decision
	if d.Outcome != billing.RefundExceeds || *d.Refundable != 400 || d.RefundedAfter != 0 || d.Request.Amount != 500 || d.DecidedAt.IsZero() {
		t.Errorf("%+v", d)
	}
	if got := outcome(r[1]); got != "charge_not_found again" {
		t.Errorf("%s", got)
	}
	s.verify(t)
}

// Two hundred refunds of one purchase at once, in two replicas, each asked twice:
// never more is given back than was charged, and each is decided once.
func TestTwoHundredRefundsAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	other, _ := s.open(t, s.db.URL("billing"))
	stores := []*postgres.Store{s.Store, other}
	bought := purchase(1, 10, 1000)
	s.Settle(t.Context(), []billing.Item{payment(7, 1, 10, 5000), bought})
	asked := make([]*billing.RefundRequest, 200)
	for i := range asked {
		asked[i] = refund(bought, money.Amount(i%20+1))
	}
	var all sync.WaitGroup
	for i, r := range asked {
		all.Go(func() {
			for n := range 2 {
				switch got := outcome(stores[(i+n)%2].Settle(t.Context(), []billing.Item{r})[0]); got {
				case "refunded", "refunded again", "refund_exceeds", "refund_exceeds again", "held":
				default:
					t.Errorf("refund %d: %s", i, got)
				}
			}
		})
	}
	all.Wait()
	for i, r := range asked { // those that found the bill locked
		if got := outcome(s.Settle(t.Context(), []billing.Item{r})[0]); got != "refunded" && got != "refund_exceeds" && got != "refunded again" && got != "refund_exceeds again" {
			t.Errorf("refund %d: %s", i, got)
		}
	}
	if b := s.balance(t, 10); b < 4980 || b > 5000 {
		t.Errorf("the balance is %s, want 50, less what no refund of 1 to 20 cents fits into", b)
	}
	if n := s.count(t, "billing.refunds"); n != 200 {
		t.Errorf("%d decisions, want 200", n)
	}
	s.verify(t)
}
