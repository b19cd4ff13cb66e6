package check_test

import (
	"slices"
	"testing"

	"lavka/tests/faults/history"
)

func TestA(t *testing.T) {
	t.Parallel()
	wantOnly(t, "a", []broken{
		{"a purchase is not in the ledger", func(s *shop) { s.undebit("bare") }},
		{"it is there twice", func(s *shop) { s.double(*s.debit("bare")) }},
		{"over another amount", func(s *shop) { s.debit("bare").Amount = -90; s.addUp() }},
		{"on another bill", func(s *shop) { s.debit("bare").BillID = 21; s.addUp() }},
		{"under another transaction", func(s *shop) { s.answer("last", 1).TransactionID = new(int64(77)) }},
		{"the ledger's own id is another one", func(s *shop) { s.debit("last").ID = 7777 }},
		{"the answer has another price", func(s *shop) { s.answer("last", 1).Price = new(int64(240)) }},
		{"the answer has no price", func(s *shop) { s.answer("last", 1).Price = nil }},
		{"the answer has no transaction", func(s *shop) { s.answer("last", 1).TransactionID = nil }},
		{"the answer has no purchase", func(s *shop) { s.answer("last", 1).PurchaseID = "" }},
		{"the answer says 201 and pending", func(s *shop) { s.answer("last", 1).State = "pending" }},
		{"catalog does not have it", func(s *shop) { s.unrow("bare") }},
		{"no book has it", func(s *shop) { s.unrow("bare"); s.uncharge("bare"); s.undebit("bare") }},
		{"catalog has it twice", func(s *shop) { s.b.Purchases = append(s.b.Purchases, *s.row("bare")) }},
		{"catalog has it pending", func(s *shop) { s.row("bare").Status, s.row("bare").TransactionID = "pending", nil }},
		{"catalog has it declined, with a transaction", func(s *shop) { s.row("bare").Status = "declined" }},
		{"all books have it declined", func(s *shop) { s.unsettle("bare") }},
		{"catalog has it of another user", func(s *shop) { s.row("last").UserID = 3 }},
		{"catalog has it on another bill", func(s *shop) { s.row("last").BillID = 20 }},
		{"catalog has another product", func(s *shop) { s.row("last").ProductID = 1 }},
		{"catalog has another key", func(s *shop) { s.row("last").Key = "k99" }},
		{"catalog has another expected price", func(s *shop) { s.row("bare").Expected = nil }},
		{"catalog has another price", func(s *shop) { s.row("bare").Price = 90 }},
		{"catalog has a reason", func(s *shop) { s.row("bare").Reason = "expired" }},
		{"billing has no charge", func(s *shop) { s.uncharge("bare") }},
		{"billing has two charges", func(s *shop) { s.b.Charges = append(s.b.Charges, *s.chargeOf("bare")) }},
		{"billing has declined it", func(s *shop) { s.chargeOf("bare").Outcome = "expired" }},
		{"billing has charged another user", func(s *shop) { s.chargeOf("bare").UserID = 3 }},
		{"two calls without a key are one purchase", func(s *shop) { s.h.Buys = append(s.h.Buys, *s.answer("bare", 1)) }},
		{"a payment is not in the ledger", func(s *shop) { s.uncredit(5) }},
		{"it is there twice", func(s *shop) { s.double(*s.creditOf(5)) }},
		{"over another amount", func(s *shop) { s.creditOf(5).Amount = 501; s.addUp() }},
		{"on another bill", func(s *shop) { s.creditOf(5).BillID = 20; s.addUp() }},
	})
}

func TestB(t *testing.T) {
	t.Parallel()
	wantOnly(t, "b", []broken{
		{"a decline is charged", func(s *shop) {
			s.enter(history.Transaction{ID: s.debit("bare").ID + 1, BillID: 21, UserID: 2, Amount: -100, PurchaseID: new("wrong")})
		}},
		{"billing has settled it", func(s *shop) { s.chargeOf("wrong").Outcome = "settled" }},
		{"billing has a transaction for it", func(s *shop) { s.chargeOf("wrong").TransactionID = new(int64(1)) }},
		{"catalog has a transaction for it", func(s *shop) { s.row("wrong").TransactionID = new(int64(1)) }},
		{"billing has decided nothing", func(s *shop) { s.uncharge("wrong") }},
		{"billing has declined another amount", func(s *shop) { s.chargeOf("wrong").Amount = 90 }},
		{"catalog does not have it", func(s *shop) { s.unrow("wrong") }},
		{"catalog has it completed", func(s *shop) { s.row("wrong").Status = "completed" }},
		{"catalog has it pending", func(s *shop) { s.row("wrong").Status, s.row("wrong").Reason = "pending", "" }},
		{"catalog has another product", func(s *shop) { s.row("wrong").ProductID = 2 }},
		{"the books have another reason", func(s *shop) { s.row("wrong").Reason, s.chargeOf("wrong").Outcome = "expired", "expired" }},
		{"the answer has no purchase", func(s *shop) { s.answer("poor", 1).PurchaseID = "" }},
		{"the answer has another balance", func(s *shop) { s.answer("poor", 1).Balance = new(int64(3)) }},
		{"the answer has no balance", func(s *shop) { s.answer("poor", 1).Balance = nil }},
		{"the answer has another price", func(s *shop) { s.answer("poor", 1).Price = new(int64(3)) }},
		{"the answer has no price", func(s *shop) { s.answer("poor", 1).Price = nil }},
		{"billing has another balance", func(s *shop) { s.row("poor").Balance, s.answer("poor", 1).Balance = new(int64(3)), new(int64(3)) }},
		{"what a GET showed as declined is charged", func(s *shop) {
			s.enter(history.Transaction{ID: s.debit("late").ID + 1, BillID: 21, UserID: 2, Amount: -250, PurchaseID: new("quiet")})
		}},
		{"what a GET showed as declined is settled", func(s *shop) { s.chargeOf("quiet").Outcome = "settled" }},
		{"what was refused is bought", func(s *shop) {
			s.h.Buys = append(s.h.Buys, refusedOrder(""))
			s.invent(history.Purchase{ID: "bought", UserID: 2, ProductID: 1, BillID: 21, Price: 100})
		}},
		{"what was refused is bought under its key", func(s *shop) {
			s.h.Buys = append(s.h.Buys, refusedOrder("k20"))
			s.invent(history.Purchase{ID: "bought", UserID: 2, ProductID: 1, BillID: 21, Price: 100, Key: "k20"})
		}},
		{"what was refused is kept", func(s *shop) {
			s.b.Purchases = append(s.b.Purchases, history.Purchase{ID: "kept", UserID: 1, ProductID: 2, BillID: 10, Price: 250, Key: "k8", Status: "declined", Reason: "expired"})
			s.b.Charges = append(s.b.Charges, history.Charge{PurchaseID: "kept", UserID: 1, BillID: 10, Amount: 250, Outcome: "expired"})
		}},
		{"what was malformed is bought", func(s *shop) {
			b := refusedOrder("k20")
			b.Status, b.Code = 400, "malformed"
			s.h.Buys = append(s.h.Buys, b)
			s.invent(history.Purchase{ID: "bought", UserID: 2, ProductID: 1, BillID: 21, Price: 100, Key: "k20"})
		}},
		{"a malformed payment is credited", func(s *shop) { s.payment(3, 1).Status, s.payment(3, 1).Code = 400, "malformed" }},
		{"a decline has no balance anywhere", func(s *shop) {
			s.row("poor").Balance, s.chargeOf("poor").Balance, s.answer("poor", 1).Balance = nil, nil, nil
		}},
		{"a payment for an unknown user is credited", func(s *shop) {
			s.b.Bills = append(s.b.Bills, history.Bill{ID: 90, UserID: 9})
			s.enter(history.Transaction{BillID: 90, UserID: 9, Amount: 100, PaymentID: new(int64(4))})
		}},
		{"a conflicting payment is credited", func(s *shop) { s.creditOf(6).Amount = 333; s.addUp() }},
		{"a conflicting payment is credited, and was also lost", func(s *shop) {
			s.creditOf(6).Amount = 333
			s.addUp()
			also := *s.payment(6, 2)
			also.Status = 0
			s.h.Pays = append(s.h.Pays, also)
		}},
		{"a payment conflicts with nothing", func(s *shop) { s.uncredit(6) }},
	})
}

func refusedOrder(key string) history.Buy {
	b := order(2, 1, 21, key)
	b.Start, b.End, b.Status, b.Code = 150e6, 151e6, 503, "starting"
	return b
}

func TestC(t *testing.T) {
	t.Parallel()
	wantOnly(t, "c", []broken{
		{"a 202 is pending", func(s *shop) { s.row("late").Status, s.row("late").TransactionID = "pending", nil }},
		{"a 202 is not in catalog", func(s *shop) { s.unrow("late") }},
		{"a 202 is in no book", func(s *shop) { s.unrow("late"); s.uncharge("late"); s.undebit("late") }},
		{"a 202 is in catalog twice", func(s *shop) { s.b.Purchases = append(s.b.Purchases, *s.row("late")) }},
		{"a 202 was for another product", func(s *shop) { s.row("late").ProductID = 1 }},
		{"a 202 had another price", func(s *shop) { s.answer("late", 1).Price = new(int64(100)) }},
		{"a 202 names no purchase", func(s *shop) { s.answer("late", 1).PurchaseID = "" }},
		{"a lost one is pending", func(s *shop) { s.row("lost").Status, s.row("lost").TransactionID = "pending", nil }},
		{"a doubtful one is pending", func(s *shop) { s.row("doubted").Status, s.row("doubted").TransactionID = "pending", nil }},
		{"a lost one has no charge", func(s *shop) { s.uncharge("lost") }},
		{"a lost one has no transaction", func(s *shop) { s.undebit("lost") }},
		{"a lost one is charged twice", func(s *shop) { s.double(*s.debit("lost")) }},
		{"only billing has declined it", func(s *shop) { s.chargeOf("lost").Outcome = "expired" }},
		{"only catalog has declined it", func(s *shop) {
			s.row("lost").Status, s.row("lost").Reason, s.row("lost").TransactionID = "declined", "expired", nil
		}},
		{"catalog has another transaction", func(s *shop) { s.row("lost").TransactionID = new(int64(77)) }},
		{"catalog has no transaction", func(s *shop) { s.row("lost").TransactionID = nil }},
		{"neither has a transaction", func(s *shop) { s.row("lost").TransactionID, s.chargeOf("lost").TransactionID = nil, nil }},
		{"only billing has another transaction", func(s *shop) { s.chargeOf("lost").TransactionID = new(int64(77)) }},
		{"another user's bill is charged", func(s *shop) {
			s.invent(*s.row("lost-wrong"))
			s.b.Purchases = slices.DeleteFunc(s.b.Purchases, func(r history.Purchase) bool { return r.ID == "lost-wrong" && r.Status == "declined" })
			s.b.Charges = slices.DeleteFunc(s.b.Charges, func(c history.Charge) bool { return c.PurchaseID == "lost-wrong" && c.Outcome != "settled" })
			s.row("lost-wrong").Reason = ""
			s.debit("lost-wrong").UserID = 1
		}},
		{"a lost one is in catalog twice", func(s *shop) { s.b.Purchases = append(s.b.Purchases, *s.row("lost")) }},
		{"billing has another price", func(s *shop) { s.chargeOf("lost").Amount = 90 }},
		{"the ledger has another price", func(s *shop) { s.debit("lost").Amount = -90; s.addUp() }},
		{"billing has another bill", func(s *shop) { s.chargeOf("lost").BillID = 21 }},
		{"the ledger has another bill", func(s *shop) { s.debit("lost").BillID = 21; s.addUp() }},
		{"billing has another balance", func(s *shop) { s.chargeOf("lost").Balance = new(int64(77)) }},
		{"billing has another reason", func(s *shop) { s.chargeOf("lost-wrong").Outcome = "expired" }},
		{"billing's decline has no user", func(s *shop) { s.chargeOf("lost-wrong").UserID = 0 }},
		{"billing has declined another bill", func(s *shop) { s.chargeOf("lost-wrong").BillID = 20 }},
		{"billing has let another amount expire", func(s *shop) {
			s.row("lost-wrong").Reason, s.chargeOf("lost-wrong").Outcome, s.chargeOf("lost-wrong").Amount = "expired", "expired", 90
		}},
		{"a lost decline was decided twice", func(s *shop) { s.b.Charges = append(s.b.Charges, *s.chargeOf("lost-wrong")) }},
		{"a lost decline is charged", func(s *shop) {
			s.enter(history.Transaction{BillID: 21, UserID: 2, Amount: -100, PurchaseID: new("lost-wrong")})
		}},
		{"a charge has no row", func(s *shop) { s.unrow("lost") }},
		{"a GET showed another price", func(s *shop) { s.lastLook("late").Price = 100 }},
		{"a GET showed another transaction", func(s *shop) { s.lastLook("late").TransactionID = new(int64(77)) }},
		{"a GET showed another outcome", func(s *shop) {
			s.lastLook("late").State, s.lastLook("late").Reason, s.lastLook("late").TransactionID = "declined", "expired", nil
			s.unsettle("late")
			s.row("late").Reason, s.chargeOf("late").Outcome = "buyer_disabled", "buyer_disabled"
		}},
		{"a GET showed a state that contradicts its reason", func(s *shop) { s.lastLook("quiet").State = "completed" }},
		{"a GET showed it as completed, and it is declined", func(s *shop) { s.unsettle("late") }},
		{"another user saw it", func(s *shop) { s.lastLook("late").UserID = 1 }},
		{"a GET showed a purchase that does not exist", func(s *shop) {
			s.h.Looks = append(s.h.Looks, history.Look{Call: history.Call{Status: 200}, UserID: 1, PurchaseID: "ghost", State: "pending"})
		}},
	})
}

func (s *shop) lastLook(id string) *history.Look {
	for i := len(s.h.Looks) - 1; ; i-- {
		if s.h.Looks[i].PurchaseID == id {
			return &s.h.Looks[i]
		}
	}
}

func TestD(t *testing.T) {
	t.Parallel()
	wantOnly(t, "d", []broken{
		{"a credit that no client sent", func(s *shop) {
			s.enter(history.Transaction{BillID: 21, UserID: 2, Amount: 100, PaymentID: new(int64(99))})
		}},
		{"a credit over another amount", func(s *shop) { s.creditOf(3).Amount++; s.addUp(); s.declineWith(201) }},
		{"a credit for another bill", func(s *shop) { s.creditOf(6).BillID = 21; s.addUp() }},
		{"a second credit", func(s *shop) { s.double(*s.creditOf(6)) }},
		{"a purchase that no client requested", func(s *shop) {
			s.invent(history.Purchase{ID: "x", UserID: 2, ProductID: 2, BillID: 21, Price: 250})
		}},
		{"a purchase under a key that no client used", func(s *shop) {
			s.invent(history.Purchase{ID: "x", UserID: 2, ProductID: 2, BillID: 20, Price: 250, Key: "k99"})
		}},
		{"a purchase of another product", func(s *shop) { s.row("lost-key").ProductID = 2 }},
		{"a purchase with another expected price", func(s *shop) { s.row("lost-key").Expected = new(int64(100)) }},
		{"a lost order made two purchases", func(s *shop) {
			s.invent(history.Purchase{ID: "lost-2", UserID: 2, ProductID: 1, BillID: 20, Price: 100})
		}},
		{"a doubted order made two purchases", func(s *shop) {
			s.invent(history.Purchase{ID: "doubted-2", UserID: 2, ProductID: 2, BillID: 20, Price: 250})
		}},
		{"an answered order made two purchases", func(s *shop) {
			s.invent(history.Purchase{ID: "dear-2", UserID: 2, ProductID: 1, BillID: 21, Price: 120})
		}},
		{"a key made two purchases", func(s *shop) {
			s.invent(history.Purchase{ID: "twin", UserID: 2, ProductID: 1, BillID: 20, Price: 100, Key: "k5"})
		}},
		{"the doubtful one is another one", func(s *shop) { s.answer("doubted", 1).BillID = 21 }},
		{"a debit for no purchase", func(s *shop) {
			s.enter(history.Transaction{BillID: 21, UserID: 2, Amount: -5, PurchaseID: new("x")})
		}},
		{"a line for nothing", func(s *shop) { s.enter(history.Transaction{BillID: 21, UserID: 2, Amount: 5}) }},
		{"a line for two things", func(s *shop) {
			s.enter(history.Transaction{BillID: 21, UserID: 2, Amount: 5, PaymentID: new(int64(8)), PurchaseID: new("y")})
		}},
		{"a payment that takes", func(s *shop) {
			s.h.Pays = append(s.h.Pays, history.Pay{PaymentID: 50, UserID: 2, BillID: 21, Amount: -5})
			s.enter(history.Transaction{BillID: 21, UserID: 2, Amount: -5, PaymentID: new(int64(50))})
		}},
	})
}

// declineWith has "poor" declined with another balance everywhere.
func (s *shop) declineWith(balance int64) {
	s.row("poor").Balance, s.chargeOf("poor").Balance, s.answer("poor", 1).Balance = &balance, &balance, &balance
}
