package check_test

import (
	"slices"
	"testing"
	"time"

	"lavka/tests/faults/check"
	"lavka/tests/faults/history"
)

func TestE(t *testing.T) {
	t.Parallel()
	page := func(s *shop) *history.Page { return &s.h.Pages[2] }
	wantOnly(t, "e", []broken{
		{"a balance is not the sum", func(s *shop) { s.b.Bills[0].Balance++ }},
		{"a line leaves another balance", func(s *shop) { s.creditOf(5).After++ }},
		{"a balance was negative", func(s *shop) { s.creditOf(5).ID, s.creditOf(7).ID = 1001, 1002; s.addUp() }},
		{"two lines have one id", func(s *shop) { s.creditOf(7).ID = s.creditOf(5).ID }},
		{"a bill has another owner", func(s *shop) {
			s.b.Bills[slices.IndexFunc(s.b.Bills, func(b history.Bill) bool { return b.ID == 21 })].UserID = 1
		}},
		{"there is no such bill", func(s *shop) { drop(&s.b.Bills, func(b history.Bill) bool { return b.ID == 21 }) }},
		{"there are two such bills", func(s *shop) { s.b.Bills = append(s.b.Bills, s.b.Bills[0]) }},
		{"a bill that is not there was read", func(s *shop) {
			s.h.BillReads = append(s.h.BillReads, history.BillRead{Call: history.Call{Status: 200}, UserID: 1, BillID: 77})
		}},
		{"a page of a bill that is not there was read", func(s *shop) {
			s.h.Pages = append(s.h.Pages, history.Page{Call: history.Call{Status: 200}, UserID: 1, BillID: 77})
		}},
		{"a negative balance was read", func(s *shop) { s.h.BillReads[1].Balance = -1 }},
		{"another user read a bill", func(s *shop) { s.h.BillReads[1].UserID = 2 }},
		{"another user read a page", func(s *shop) { page(s).UserID = 2 }},
		{"a page has a gap", func(s *shop) { page(s).Lines = slices.Delete(page(s).Lines, 1, 2) }},
		{"a page is the wrong way round", func(s *shop) { slices.Reverse(page(s).Lines) }},
		{"a page shows another amount", func(s *shop) { page(s).Lines[1].Amount++ }},
		{"a page shows another balance", func(s *shop) { page(s).Lines[1].After++ }},
		{"a page shows another payment", func(s *shop) { page(s).Lines[0].PaymentID = new(int64(77)) }},
		{"a page shows another purchase", func(s *shop) { page(s).Lines[1].PurchaseID = new("late") }},
		{"a page shows no purchase", func(s *shop) { page(s).Lines[1].PurchaseID = nil }},
		{"a page shows what is not in the ledger", func(s *shop) { page(s).Lines[2].ID = 77 }},
	})
}

func TestF(t *testing.T) {
	t.Parallel()
	again := func(change func(*history.Buy)) func(*shop) {
		return func(s *shop) { change(s.answer("k1", 2)) }
	}
	refusedLater := func(status int, code string) func(*shop) {
		return again(func(b *history.Buy) {
			b.Status, b.Code, b.PurchaseID, b.State, b.Price, b.TransactionID = status, code, "", "", nil, nil
		})
	}
	wantOnly(t, "f", []broken{
		{"a repeat names another purchase", again(func(b *history.Buy) { b.PurchaseID = "ghost" })},
		{"a repeat has another price", again(func(b *history.Buy) { b.Price = new(int64(120)) })},
		{"a repeat has another transaction", again(func(b *history.Buy) { b.TransactionID = new(int64(7777)) })},
		{"a repeat is declined", again(func(b *history.Buy) { b.Status, b.Code, b.TransactionID = 409, "purchase_expired", nil })},
		{"a repeat is declined with another balance", func(s *shop) {
			b := *s.answer("poor", 1)
			b.Replayed, b.Balance = true, new(int64(77))
			s.h.Buys = append(s.h.Buys, b)
		}},
		{"a repeat is pending at another price", func(s *shop) {
			b := *s.answer("late", 1)
			b.Replayed, b.Price = true, new(int64(77))
			s.h.Buys = append(s.h.Buys, b)
		}},
		{"two repeats are declined for two reasons", func(s *shop) {
			s.repeatQuiet(404, "bill_not_found", 160)
			s.repeatQuiet(403, "user_disabled", 160)
		}},
		{"a repeat is not marked", again(func(b *history.Buy) { b.Replayed = false })},
		{"a repeat is pending again", again(func(b *history.Buy) { b.Status, b.State, b.TransactionID = 202, "pending", nil })},
		{"a repeat finds no product", refusedLater(404, "product_not_found")},
		{"a repeat finds another price", refusedLater(409, "price_changed")},
		{"a repeat finds the key used", refusedLater(422, "idempotency_key_reused")},
		{"a repeat is overloaded", refusedLater(503, "overloaded")},
		{"a fresh key is called used", func(s *shop) { s.answer("k8", 1).Status, s.answer("k8", 1).Code = 422, "idempotency_key_reused" }},
		{"a GET shows it as pending again", func(s *shop) { s.h.Looks[0].State, s.h.Looks[0].TransactionID = "pending", nil }},
		{"a GET no longer finds it", func(s *shop) { s.h.Looks[0].Status, s.h.Looks[0].Code = 404, "purchase_not_found" }},
		{"two contents of one payment were credited", func(s *shop) { s.payment(6, 1).Status, s.payment(6, 2).Status = 200, 200 }},
		{"a payment was credited as new twice", func(s *shop) { s.payment(1, 2).Replayed = false }},
		{"a payment was refused later", func(s *shop) { s.payment(1, 2).Status, s.payment(1, 2).Code = 404, "user_not_found" }},
		{"a payment was in conflict with itself", func(s *shop) { s.payment(1, 2).Status, s.payment(1, 2).Code = 409, "transaction_conflict" }},
	})
}

// repeatQuiet asks for "quiet" once more.
func (s *shop) repeatQuiet(status int, code string, start int) {
	b := *s.answer("quiet", 1)
	b.Call = span{start: start, end: start + 5}.call(2)
	b.Status, b.Code, b.State, b.Replayed, b.Price = status, code, "declined", true, nil
	s.h.Buys = append([]history.Buy{b}, s.h.Buys...)
}

func TestPossibleAnswers(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*shop){
		"a decline is told first, without a price": func(s *shop) { s.repeatQuiet(404, "bill_not_found", 160) },
		"refused before the first was answered": func(s *shop) {
			b := order(1, 1, 10, "k1")
			b.Call = span{start: 104, end: 106}.call(1)
			b.Status, b.Code = 503, "overloaded"
			s.h.Buys = append(s.h.Buys, b)
		},
		"pending at the moment when the end is told": func(s *shop) {
			l := *s.lastLook("late")
			l.Start, l.End, l.State, l.TransactionID = l.End, l.End+1, "pending", nil
			s.h.Looks = append(s.h.Looks, l)
		},
		"not found at the moment when it is named": func(s *shop) {
			l := history.Look{Call: span{start: 104, end: 105}.call(1), UserID: 1, PurchaseID: "keyed"}
			l.Status = 404
			s.h.Looks = append(s.h.Looks, l)
		},
		"a provider who asks too often":  func(s *shop) { s.payment(1, 2).Status, s.payment(1, 2).Replayed = 429, false },
		"a provider who meets a failure": func(s *shop) { s.payment(1, 2).Status, s.payment(1, 2).Replayed = 500, false },
		"a request that billing could not read": func(s *shop) {
			r := s.row("lost-wrong")
			r.Reason = "expired"
			*s.chargeOf("lost-wrong") = history.Charge{PurchaseID: r.ID, Outcome: "expired"}
		},
		"a disabled user is declined": func(s *shop) {
			s.h.Buys[len(s.h.Buys)-1].Status = 0
			s.b.Purchases = append(s.b.Purchases, history.Purchase{ID: "x", UserID: 3, ProductID: 1, BillID: 30, Price: 120, Status: "declined", Reason: "buyer_disabled"})
			s.b.Charges = append(s.b.Charges, history.Charge{PurchaseID: "x", UserID: 3, BillID: 30, Amount: 120, Outcome: "buyer_disabled"})
		},
	} {
		s := story()
		change(s)
		for _, v := range check.Check(s.h, s.b, options) {
			t.Errorf("%s: %s", name, v)
		}
	}
}

func TestG(t *testing.T) {
	t.Parallel()
	wantOnly(t, "g", []broken{
		{"a balance that never was", func(s *shop) { s.h.BillReads[1].Balance = 901 }},
		{"a read of the past", func(s *shop) { s.h.BillReads[1].Balance = 1000 }},
		{"a read of the future", func(s *shop) { s.h.BillReads[1].Balance = 970 }},
		{"two reads go back in time", func(s *shop) {
			r := s.h.BillReads
			r[2].Balance, r[3].Balance = r[3].Balance, r[2].Balance
		}},
		{"the ledger has an order that was not", func(s *shop) { s.creditOf(5).ID, s.creditOf(7).ID = s.creditOf(7).ID, s.creditOf(5).ID; s.addUp() }},
		{"a decline was known before it was asked for", func(s *shop) {
			l := *s.lastLook("late")
			l.PurchaseID, l.UserID, l.State, l.Reason, l.TransactionID = "poor", 3, "declined", "insufficient_funds", nil
			l.Start, l.End = 100*time.Millisecond, 101*time.Millisecond
			s.h.Looks = append(s.h.Looks, l)
		}},
		{"a purchase was known before it was asked for", func(s *shop) {
			l := *s.lastLook("late")
			l.PurchaseID, l.TransactionID, l.Start, l.End = "last", s.row("last").TransactionID, 1, 2
			s.h.Looks = append(s.h.Looks, l)
		}},
		{"a decline saw another balance", func(s *shop) { s.declineWith(7) }},
		{"a decline saw enough", func(s *shop) { s.declineWith(250) }},
		{"a decline saw just enough", func(s *shop) {
			s.creditOf(3).Amount, s.payment(3, 1).Amount = 250, 250
			s.addUp()
			s.declineWith(250)
		}},
		{"a page of the past", func(s *shop) { s.h.Pages[2].Lines = s.h.Pages[2].Lines[1:] }},
		{"a page of the future", func(s *shop) { s.h.Pages[0].Status, s.h.Pages[0].Lines = 200, s.h.Pages[2].Lines }},
		{"a page is empty too late", func(s *shop) { s.h.Pages[2].Lines = nil }},
	})
}

func TestReadsBeforeAFailoverAreNotJudged(t *testing.T) {
	t.Parallel()
	s := story()
	s.h.BillReads[1].Balance = 901 // it never was
	s.h.Pages[2].Lines = s.h.Pages[2].Lines[1:]
	for from, letters := range map[time.Duration]string{s.h.BillReads[1].Start: "g", s.h.Pages[2].Start + 1: ""} {
		o := options
		o.ReadsFrom = from
		got := ""
		for _, v := range check.Check(s.h, s.b, o) {
			got += v.Invariant
		}
		if got != letters {
			t.Errorf("from %v: %q, want %q", from, got, letters)
		}
	}
}

func TestH(t *testing.T) {
	t.Parallel()
	wantOnly(t, "h", []broken{
		{"another price than was expected", func(s *shop) { s.sell("bare", 90) }},
		{"another price than was expected, which it had", func(s *shop) {
			s.row("bare").Expected, s.answer("bare", 1).Expected = new(int64(120)), new(int64(120))
		}},
		{"the price that was expected, which never was", func(s *shop) {
			s.sell("bare", 90)
			s.row("bare").Expected, s.answer("bare", 1).Expected = new(int64(90)), new(int64(90))
		}},
		{"a price that came after the first look", func(s *shop) {
			s.sell("doubted", 300)
			s.lastLook("doubted").Price = 300
			s.h.Reprices = append(s.h.Reprices, reprice(180, 181, 2, 300), reprice(182, 183, 2, 250))
		}},
		{"a price that never was", func(s *shop) { s.sell("last", 240) }},
		{"a price of the past", func(s *shop) { s.sell("dear", 100) }},
		{"a price of the future", func(s *shop) {
			s.h.Reprices[2].Start, s.h.Reprices[2].End = 247*time.Millisecond, 248*time.Millisecond
		}},
		{"a price that was followed by another one", func(s *shop) { s.h.Reprices = append(s.h.Reprices, reprice(3, 4, 2, 300)) }},
		{"a price that was refused", func(s *shop) { s.h.Reprices[1].Status = 400 }},
		{"a price changed to what was expected", func(s *shop) { s.answer("k9", 1).Expected = new(int64(100)) }},
		{"a price changed to what never was", func(s *shop) { s.answer("k9", 1).Price = new(int64(99)) }},
		{"a price changed to the future", func(s *shop) { s.answer("k9", 1).Price = new(int64(120)) }},
		{"a price changed, and none was expected", func(s *shop) { s.answer("k9", 1).Expected = nil }},
		{"a price changed to none", func(s *shop) { s.answer("k9", 1).Price = nil }},
	})
}

func TestPossiblePrices(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*shop){
		"a change without an answer may have been late": func(s *shop) {
			s.h.Reprices[1].Status = 0
			s.h.Reprices = append(s.h.Reprices, reprice(3, 4, 2, 300))
		},
		"a change that failed may have been": func(s *shop) { s.h.Reprices[1].Status = 500 },
		"a change without an answer may not have been": func(s *shop) {
			never := reprice(3, 4, 2, 300)
			never.Status = 500
			s.h.Reprices = append(s.h.Reprices, never)
		},
		"two changes at once": func(s *shop) { s.h.Reprices = append(s.h.Reprices, reprice(1, 3, 2, 300)) },
		"a change that ends when the purchase begins": func(s *shop) {
			s.h.Reprices = append(s.h.Reprices, reprice(3, 124, 2, 300), reprice(131, 132, 2, 250))
		},
		"a change that goes on": func(s *shop) {
			s.h.Reprices[2].Start, s.h.Reprices[2].End = 90*time.Millisecond, 900*time.Millisecond
		},
	} {
		s := story()
		change(s)
		for _, v := range check.Check(s.h, s.b, options) {
			t.Errorf("%s: %s", name, v)
		}
	}
}

func reprice(start, end int, product, price int64) history.Reprice {
	r := history.Reprice{Call: span{start: start, end: end}.call(0), ProductID: product, Price: price}
	r.Status = 200
	return r
}
