package check_test

import (
	"testing"
	"time"

	"lavka/tests/faults/check"
	"lavka/tests/faults/history"
)

// decline has "last" declined everywhere, for a reason that it did not have.
func (s *shop) decline(reason string, status int, code string) {
	s.unsettle("last")
	s.row("last").Reason, s.chargeOf("last").Outcome = reason, reason
	b := s.answer("last", 1)
	b.Status, b.Code, b.State, b.Price, b.TransactionID = status, code, "declined", nil, nil
}

func TestARefusalNeedsACause(t *testing.T) {
	t.Parallel()
	refuse := func(user, product int64, status int, code string) func(*shop) {
		return func(s *shop) {
			b := order(user, product, 10, "")
			b.Call = span{start: 400, end: 402}.call(1)
			b.Status, b.Code = status, code
			s.h.Buys = append(s.h.Buys, b)
		}
	}
	unpaid := func(p history.Pay, status int, code string) func(*shop) {
		return func(s *shop) {
			p.Call = span{start: 400, end: 402}.call(1)
			p.Status, p.Code = status, code
			s.h.Pays = append(s.h.Pays, p)
		}
	}
	wantOnly(t, "b", []broken{
		{"a bill that is there is not found", func(s *shop) { s.decline("bill_not_found", 404, "bill_not_found") }},
		{"declined as disabled, but never disabled", func(s *shop) { s.decline("buyer_disabled", 403, "user_disabled") }},
		{"a product that is there is not found", refuse(1, 2, 404, "product_not_found")},
		{"an order is forbidden", refuse(1, 2, 403, "forbidden")},
		{"a good token is refused to a buyer", refuse(1, 2, 401, "token_invalid")},
		{"a good token is refused to a reader", func(s *shop) { s.h.BillReads[0].Status = 401 }},
		{"a good token is refused to who looks at a page", func(s *shop) { s.h.Pages[0].Status = 401 }},
		{"a good token is refused to who looks at a purchase", func(s *shop) { s.h.Looks[0].Status = 401 }},
		{"a user is unknown who was credited", unpaid(history.Pay{PaymentID: 50, UserID: 1, BillID: 10, Amount: 5}, 404, "user_not_found")},
		{"a bill is said to be another's", unpaid(history.Pay{PaymentID: 50, UserID: 1, BillID: 10, Amount: 5}, 409, "bill_owner_mismatch")},
		{"a bill that is not there is said to be another's", unpaid(history.Pay{PaymentID: 50, UserID: 1, BillID: 99, Amount: 5}, 409, "bill_owner_mismatch")},
		{"a good signature is refused", unpaid(history.Pay{PaymentID: 50, UserID: 1, BillID: 10, Amount: 5}, 403, "invalid_signature")},
	})
}

func TestPossibleCauses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*shop){
		"a product is not found that is just being offered": func(s *shop) {
			b := order(1, 3, 10, "")
			b.Call = span{start: 400, end: 410}.call(1)
			b.Status, b.Code = 404, "product_not_found"
			s.h.Buys = append(s.h.Buys, b)
			s.h.Reprices = append(s.h.Reprices, reprice(395, 405, 3, 100))
		},
		"a payment for another's bill": func(s *shop) {
			p := history.Pay{Call: span{start: 400, end: 402}.call(1), PaymentID: 50, UserID: 1, BillID: 20, Amount: 5}
			p.Status, p.Code = 409, "bill_owner_mismatch"
			s.h.Pays = append(s.h.Pays, p)
		},
		"a token of a user who was disabled": func(s *shop) { s.h.Buys[len(s.h.Buys)-1].Status = 401 },
	} {
		s := story()
		change(s)
		for _, v := range check.Check(s.h, s.b, options) {
			t.Errorf("%s: %s", name, v)
		}
	}
	s := story()
	s.h.BillReads[0].Status = 401
	o := options
	o.BadTokens = true
	for _, v := range check.Check(s.h, s.b, o) {
		t.Errorf("a replica whose clock is wrong: %s", v)
	}
}

func TestNothingExpiresEarly(t *testing.T) {
	t.Parallel()
	for expiry, letters := range map[time.Duration]string{4 * time.Millisecond: "", 5 * time.Millisecond: "b"} { // told after four
		s := story()
		s.decline("expired", 409, "purchase_expired")
		o := options
		o.Expiry = expiry
		got := ""
		for _, v := range check.Check(s.h, s.b, o) {
			got += v.Invariant
		}
		if got != letters {
			t.Errorf("with %v: %q, want %q", expiry, got, letters)
		}
	}
}
