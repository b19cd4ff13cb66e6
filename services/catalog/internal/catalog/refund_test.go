package catalog

import (
	"testing"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

func TestARefundOfAPurchase(t *testing.T) {
	t.Parallel()
	amount := func(n money.Amount) *money.Amount { return &n }
	bought := Purchase{ID: uuid.New(), UserID: 7, BillID: 70, Price: 1000, Quantity: 1, Amount: 1000, Status: Completed}
	earlier := &Refund{ID: uuid.New(), Asked: amount(300), Amount: 300, Reason: "x", AdminID: 1}
	for _, c := range []struct {
		name   string
		asked  *money.Amount
		status Status
		known  *Refund
		before Refunded
		want   money.Amount
		left   any
		code   string
	}{
		{"a part", amount(300), Completed, nil, Refunded{}, 300, nil, ""},
		{"all of it", amount(1000), Completed, nil, Refunded{}, 1000, nil, ""},
		{"without an amount", nil, Completed, nil, Refunded{}, 1000, nil, ""},
		{"without an amount, after others", nil, Completed, nil, Refunded{Count: 2, Amount: 999}, 1, nil, ""},
		{"the last of a hundred", amount(1), Completed, nil, Refunded{Count: 99}, 1, nil, ""},
		{"a hundred and one", amount(1), Completed, nil, Refunded{Count: 100}, 0, nil, "too_many_refunds"},
		{"too much", amount(1001), Completed, nil, Refunded{}, 0, money.Amount(1000), "refund_exceeds"},
		{"too much, after others", amount(301), Completed, nil, Refunded{Count: 1, Amount: 700}, 0, money.Amount(300), "refund_exceeds"},
		{"nothing is left", nil, Completed, nil, Refunded{Count: 1, Amount: 1000}, 0, money.Amount(0), "refund_exceeds"},
		{"pending", amount(1), Pending, nil, Refunded{}, 0, nil, "purchase_not_completed"},
		{"declined", amount(1), Declined, nil, Refunded{}, 0, nil, "purchase_not_completed"},
		{"a repeat", amount(300), Completed, earlier, Refunded{Count: 100, Amount: 1000}, 300, nil, ""},
		{"another amount under the key", amount(301), Completed, earlier, Refunded{}, 0, nil, "idempotency_key_reused"},
	} {
		p := bought
		p.Status = c.status
		r, err := NewRefund(p.ID, "key", c.asked, "x", "", false, 0, 2)
		if err != nil {
			t.Fatal(err)
		}
		r.ID = uuid.New()
		got, repeat, err := r.Of(p, c.known, c.before)
		code := ""
		if err != nil {
			e := problem.From(err)
			code = e.Code
			if e.Extra["refundable"] != c.left {
				t.Errorf("%s: refundable %v, want %v", c.name, e.Extra["refundable"], c.left)
			}
		}
		if code != c.code || got.Amount != c.want || repeat != (c.known != nil && code == "") {
			t.Errorf("%s: %+v, repeat %v, %q", c.name, got, repeat, code)
		}
		if code == "" && !repeat && (got.UserID != 7 || got.BillID != 70 || got.Status != Pending || got.AdminID != 2) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	// An attempt that has stored it after all is no repeat.
	if got, repeat, err := (*earlier).Of(bought, earlier, Refunded{}); err != nil || repeat || got.ID != earlier.ID {
		t.Errorf("%+v, repeat %v, %v", got, repeat, err)
	}
}
