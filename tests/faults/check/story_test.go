package check_test

import (
	"cmp"
	"slices"
	"time"

	"lavka/tests/faults/check"
	"lavka/tests/faults/history"
)

// limit is how soon a disable is known in the story.
const limit = 20 * time.Millisecond

// options are those that the story is judged with.
var options = check.Options{RevocationLimit: limit}

// order is a purchase in the story.
func order(user, product, bill int64, key string) history.Buy {
	return history.Buy{Call: history.Call{Client: int(user)}, UserID: user, ProductID: product, BillID: bill, Key: key}
}

// story is a little of everything that can happen in a shop. Product 1 costs
// 100 and then 120, product 2 costs 250. Bill 10 is user 1's and is read; 20 and
// 21 are user 2's and are not; 30 is user 3's, who is disabled in the end. The
// purchases have names for ids.
func story() *shop {
	s := newShop(1, 2, 3)
	s.reprice(span{0, 1, 2}, 1, 100, problem{201, ""}, true)
	s.reprice(span{0, 1, 2}, 2, 250, problem{201, ""}, true)
	pay := func(t span, id, user, bill, amount int64, answer *problem) {
		s.pay(t, history.Pay{PaymentID: id, UserID: user, BillID: bill, Amount: amount}, answer)
	}
	s.readPage(span{3, 4, 5}, 1, 1, 10) // not there yet
	s.at(5, func() { s.open(1, 40) })
	s.readBill(span{6, 7, 8}, 1, 1, 40)
	s.readPage(span{6, 7, 8}, 1, 1, 40)
	pay(span{10, 12, 14}, 1, 1, 10, 1000, nil)
	pay(span{20, 22, 24}, 1, 1, 10, 1000, nil) // again
	pay(span{20, 22, 24}, 2, 2, 20, 900, nil)
	pay(span{26, 28, 30}, 3, 3, 30, 200, &lost)
	pay(span{26, 28, 30}, 4, 9, 90, 100, nil) // an unknown user
	pay(span{32, 34, 36}, 5, 2, 21, 500, nil)
	pay(span{38, 40, 42}, 6, 2, 20, 300, &lost)
	pay(span{44, 46, 48}, 6, 2, 20, 333, nil) // conflicts with it
	pay(span{50, 52, 54}, 7, 2, 21, 400, nil)

	buy := func(t span, id string, b history.Buy) { s.buy(buying{span: t, id: id, Buy: b}) }
	buy(span{100, 102, 104}, "keyed", order(1, 1, 10, "k1"))
	buy(span{106, 108, 110}, "", order(1, 1, 10, "k1")) // again
	s.look(span{106, 108, 110}, 4, 1, "keyed")
	s.readBill(span{112, 114, 116}, 1, 1, 10)
	bare := order(2, 1, 20, "")
	bare.Expected = new(int64(100))
	buy(span{112, 114, 116}, "bare", bare)
	buy(span{112, 114, 116}, "poor", order(3, 2, 30, "k2"))
	buy(span{118, 120, 122}, "wrong", order(2, 1, 10, "")) // another user's bill
	s.buy(buying{span: span{124, 126, 130}, id: "late", Buy: order(2, 2, 20, "k3"), decided: 136})
	s.look(span{132, 133, 134}, 2, 2, "late")
	s.look(span{132, 133, 134}, 1, 1, "late") // another user's
	s.look(span{138, 140, 142}, 2, 2, "late")
	s.buy(buying{span: span{144, 146, 150}, id: "quiet", Buy: order(2, 2, 10, "k4"), decided: 152})
	s.look(span{154, 156, 158}, 2, 2, "quiet")
	s.buy(buying{span: span{160, 164, 162}, id: "lost", Buy: order(2, 1, 20, ""), answer: &lost})
	s.buy(buying{span: span{160, 164, 162}, id: "lost-key", Buy: order(2, 1, 20, "k5"), answer: &problem{502, "bad_gateway"}})
	s.buy(buying{span: span{160, 164, 162}, id: "lost-wrong", Buy: order(2, 1, 10, "k6"), answer: &lost})
	s.buy(buying{span: span{160, 161, 162}, id: "doubted", Buy: order(2, 2, 20, ""), answer: &problem{503, "outcome_unknown"}})
	s.look(span{166, 168, 170}, 2, 2, "doubted")
	s.buy(buying{span: span{160, 161, 162}, id: "never", Buy: order(2, 2, 21, "k7"), answer: &lost, never: true})
	s.buy(buying{span: span{160, 161, 162}, id: "full", Buy: order(1, 2, 10, ""), full: true})
	s.buy(buying{span: span{160, 161, 162}, id: "full-key", Buy: order(1, 2, 10, "k8"), full: true})
	buy(span{164, 165, 166}, "", order(1, 9, 10, "")) // no such product
	changed := order(1, 1, 10, "k9")
	changed.Expected = new(int64(90))
	buy(span{168, 169, 170}, "", changed)
	buy(span{172, 173, 174}, "", order(1, 2, 10, "k1")) // another purchase's key

	s.reprice(span{200, 202, 204}, 1, 120, problem{200, ""}, true)
	buy(span{206, 208, 210}, "dear", order(2, 1, 21, ""))
	pay(span{220, 230, 222}, 8, 1, 10, 70, &lost)
	s.readBill(span{224, 225, 226}, 1, 1, 10) // before it
	s.readBill(span{234, 235, 236}, 1, 1, 10) // after it
	s.readPage(span{238, 239, 240}, 1, 1, 10)
	buy(span{242, 244, 246}, "last", order(2, 2, 21, "k10"))

	s.access(span{250, 251, 252}, 3, 5)
	s.enable(span{260, 262, 264}, 3, false)
	s.access(span{300, 302, 304}, 3, 5)
	s.readBill(span{300, 302, 304}, 3, 3, 30)
	buy(span{300, 302, 304}, "", order(3, 1, 30, ""))
	s.play()

	busy := history.Pay{Call: span{start: 26, end: 28}.call(1), PaymentID: 5, UserID: 2, BillID: 21, Amount: 500}
	busy.Status, busy.Code = 503, "bill_busy"
	s.h.Pays = append(s.h.Pays, busy)
	return s
}

// The parts of a story that was played, to be changed.

func (s *shop) row(id string) *history.Purchase {
	return &s.b.Purchases[slices.IndexFunc(s.b.Purchases, func(r history.Purchase) bool { return r.ID == id })]
}

func (s *shop) chargeOf(id string) *history.Charge {
	return &s.b.Charges[slices.IndexFunc(s.b.Charges, func(c history.Charge) bool { return c.PurchaseID == id })]
}

func (s *shop) debit(id string) *history.Transaction {
	return &s.b.Transactions[slices.IndexFunc(s.b.Transactions, func(t history.Transaction) bool { return t.PurchaseID != nil && *t.PurchaseID == id })]
}

func (s *shop) creditOf(id int64) *history.Transaction {
	return &s.b.Transactions[slices.IndexFunc(s.b.Transactions, func(t history.Transaction) bool { return t.PaymentID != nil && *t.PaymentID == id })]
}

// answer is the n-th call that has the key, or whose answer names the purchase.
func (s *shop) answer(keyOrID string, n int) *history.Buy {
	for i := range s.h.Buys {
		if b := &s.h.Buys[i]; b.Key == keyOrID || b.PurchaseID == keyOrID {
			if n--; n == 0 {
				return b
			}
		}
	}
	panic("there is no such call")
}

func (s *shop) payment(id int64, n int) *history.Pay {
	for i := range s.h.Pays {
		if p := &s.h.Pays[i]; p.PaymentID == id {
			if n--; n == 0 {
				return p
			}
		}
	}
	panic("there is no such call")
}

// drop takes what matches out of a list.
func drop[T any](list *[]T, match func(T) bool) { *list = slices.DeleteFunc(*list, match) }

// undebit takes a purchase out of the ledger.
func (s *shop) undebit(id string) {
	drop(&s.b.Transactions, func(t history.Transaction) bool { return t.PurchaseID != nil && *t.PurchaseID == id })
	s.addUp()
}

func (s *shop) uncredit(id int64) {
	drop(&s.b.Transactions, func(t history.Transaction) bool { return t.PaymentID != nil && *t.PaymentID == id })
	s.addUp()
}

func (s *shop) unrow(id string) {
	drop(&s.b.Purchases, func(r history.Purchase) bool { return r.ID == id })
}

func (s *shop) uncharge(id string) {
	drop(&s.b.Charges, func(c history.Charge) bool { return c.PurchaseID == id })
}

// enter puts a line into the ledger, at its end when it has no id, and has it
// add up again.
func (s *shop) enter(t history.Transaction) {
	if t.ID == 0 {
		t.ID = int64(1000 + len(s.b.Transactions))
	}
	s.b.Transactions = append(s.b.Transactions, t)
	s.addUp()
}

// double has a line twice, one after the other.
func (s *shop) double(t history.Transaction) {
	t.ID++
	s.enter(t)
}

// invent puts a purchase into all books.
func (s *shop) invent(r history.Purchase) {
	r.Status, r.TransactionID = "completed", new(int64(2000+len(s.b.Purchases)))
	s.b.Purchases = append(s.b.Purchases, r)
	s.b.Charges = append(s.b.Charges, history.Charge{
		PurchaseID: r.ID, UserID: r.UserID, BillID: r.BillID, Amount: r.Price, Outcome: "settled", Balance: new(int64(0)), TransactionID: r.TransactionID,
	})
	s.enter(history.Transaction{ID: *r.TransactionID, BillID: r.BillID, UserID: r.UserID, Amount: -r.Price, PurchaseID: new(r.ID)})
}

// unsettle turns a completed purchase into a declined one in all books.
func (s *shop) unsettle(id string) {
	r, c := s.row(id), s.chargeOf(id)
	r.Status, r.Reason, r.TransactionID = "declined", "expired", nil
	c.Outcome, c.Balance, c.TransactionID = "expired", nil, nil
	s.undebit(id)
}

// sell gives a purchase another price everywhere.
func (s *shop) sell(id string, price int64) {
	s.row(id).Price, s.chargeOf(id).Amount, s.debit(id).Amount = price, price, -price
	for i := range s.h.Buys {
		if s.h.Buys[i].PurchaseID == id {
			s.h.Buys[i].Price = &price
		}
	}
	s.addUp()
}

// addUp makes the ledger add up again, in the order of its ids.
func (s *shop) addUp() {
	slices.SortStableFunc(s.b.Transactions, func(a, b history.Transaction) int { return cmp.Compare(a.ID, b.ID) })
	balances := map[int64]int64{}
	for i := range s.b.Transactions {
		t := &s.b.Transactions[i]
		balances[t.BillID] += t.Amount
		t.After = balances[t.BillID]
		for k := range s.b.Charges {
			if c := &s.b.Charges[k]; t.PurchaseID != nil && c.PurchaseID == *t.PurchaseID && c.Balance != nil {
				c.Balance = new(t.After)
			}
		}
	}
	for i := range s.b.Bills {
		s.b.Bills[i].Balance = balances[s.b.Bills[i].ID]
	}
}
