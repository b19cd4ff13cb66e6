package check_test

import (
	"testing"
	"time"

	"lavka/tests/faults/check"
	"lavka/tests/faults/history"
)

// refunded is a shop in which user 2 has paid 1000 to bill 20, with payment 1, and
// bought "p" for 400. Of it, 100 were refunded, and 301 more were declined. Of the
// payment, 200 and then 300 were reversed.
func refunded() *shop {
	s := newShop(2)
	s.at(0, func() {
		s.prices[1] = 400
		s.h.Reprices = append(s.h.Reprices, history.Reprice{Call: history.Call{Status: 201}, ProductID: 1, Price: 400})
	})
	s.pay(span{1, 2, 3}, history.Pay{PaymentID: 1, UserID: 2, BillID: 20, Amount: 1000}, nil)
	s.buy(buying{span: span{10, 11, 12}, Buy: history.Buy{UserID: 2, ProductID: 1, BillID: 20}, id: "p"})
	call := func(start, status int, code string) history.Call {
		return history.Call{Client: 3, Start: time.Duration(start) * time.Millisecond, End: time.Duration(start+2) * time.Millisecond, Status: status, Code: code}
	}
	s.at(21, func() {
		line := s.write(s.bill(20), history.Transaction{Amount: 100, RefundID: new("r1")})
		s.b.Refunds = append(s.b.Refunds, history.RefundRow{ID: "r1", PurchaseID: "p", Key: "a", UserID: 2, BillID: 20, Amount: 100, Status: "completed", TransactionID: &line.ID})
		s.b.Credits = append(s.b.Credits, history.Credit{ID: line.ID, RefundID: "r1", PurchaseID: "p", UserID: 2, BillID: 20, Amount: 100, Outcome: "refunded"})
		done := history.Refund{Call: call(20, 201, ""), PurchaseID: "p", Key: "a", Amount: 100, RefundID: "r1", State: "completed", Refunded: 100, TransactionID: &line.ID}
		again := done
		again.Call = call(25, 201, "")
		again.Replayed = true
		s.h.Refunds = append(s.h.Refunds, done, again)
	})
	s.at(31, func() {
		s.b.Refunds = append(s.b.Refunds, history.RefundRow{ID: "r2", PurchaseID: "p", Key: "b", UserID: 2, BillID: 20, Amount: 301, Status: "declined", Reason: "refund_exceeds"})
		s.b.Credits = append(s.b.Credits, history.Credit{ID: 9000, RefundID: "r2", PurchaseID: "p", UserID: 2, BillID: 20, Amount: 301, Outcome: "refund_exceeds"})
		s.h.Refunds = append(s.h.Refunds,
			history.Refund{Call: call(30, 202, ""), PurchaseID: "p", Key: "b", Amount: 301, RefundID: "r2", State: "pending", Refunded: 301},
			history.Refund{Call: call(35, 409, "refund_exceeds"), PurchaseID: "p", Key: "b", Amount: 301, RefundID: "r2", State: "declined"},
			history.Refund{Call: call(36, 409, "refund_exceeds"), PurchaseID: "p", Key: "c", Amount: 500})
	})
	for i, total := range []int64{200, 300} {
		id := int64(5 + i)
		s.at(41+10*i, func() {
			due := []int64{200, 100}[i]
			line := s.write(s.bill(20), history.Transaction{Amount: -due, ReversalID: new(id)})
			s.b.Takebacks = append(s.b.Takebacks, history.Takeback{ID: line.ID, ReversalID: id, PaymentID: 1, BillID: 20, Total: total, Due: due, Debited: due})
			s.h.Reversals = append(s.h.Reversals, history.Reversal{Call: call(40+10*i, 200, ""), ReversalID: id, PaymentID: 1, Total: total, Debited: due})
		})
	}
	s.readBill(span{60, 61, 62}, 4, 2, 20)
	return s.play()
}

func (s *shop) lineOf(refund string) *history.Transaction {
	for i := range s.b.Transactions {
		if t := &s.b.Transactions[i]; t.RefundID != nil && *t.RefundID == refund {
			return t
		}
	}
	panic("no line of " + refund)
}

func (s *shop) lineOfReversal(id int64) *history.Transaction {
	for i := range s.b.Transactions {
		if t := &s.b.Transactions[i]; t.ReversalID != nil && *t.ReversalID == id {
			return t
		}
	}
	panic("no line of the reversal")
}

func TestRefundsAndReversals(t *testing.T) {
	t.Parallel()
	if wrong := check.Check(refunded().h, refunded().b, check.Options{}); len(wrong) > 0 {
		t.Fatalf("nothing is wrong, but: %v", wrong)
	}
	for letter, all := range map[string][]broken{
		"k": {
			{"more is refunded than was charged", func(s *shop) {
				s.lineOf("r1").Amount, s.b.Credits[0].Amount, s.b.Refunds[0].Amount = 401, 401, 401
				for i := range 2 {
					s.h.Refunds[i].Amount, s.h.Refunds[i].Refunded = 401, 401
				}
				s.addUp()
				s.h.BillReads = nil
			}},
			{"what was answered 201 is not in the ledger", func(s *shop) {
				drop(&s.b.Transactions, func(t history.Transaction) bool { return t.RefundID != nil })
				s.addUp()
				s.h.BillReads = nil
			}},
			{"it is there twice", func(s *shop) {
				twin := *s.lineOf("r1")
				twin.ID++
				s.b.Transactions = append(s.b.Transactions, twin)
				s.addUp()
				s.h.BillReads = nil
			}},
			{"it is there with another amount", func(s *shop) { s.lineOf("r1").Amount = 99; s.addUp(); s.h.BillReads = nil }},
			{"it is on another bill", func(s *shop) {
				s.open(2, 21)
				s.lineOf("r1").BillID = 21
				s.addUp()
				s.h.BillReads = nil
			}},
			{"it is there under another id", func(s *shop) { s.lineOf("r1").ID++ }},
			{"a decline was credited", func(s *shop) {
				line := *s.lineOf("r1")
				line.ID, line.RefundID, line.Amount = 7000, new("r2"), 1
				s.b.Transactions = append(s.b.Transactions, line)
				s.addUp()
				s.h.BillReads = nil
			}},
			{"billing has no decision", func(s *shop) { drop(&s.b.Credits, func(c history.Credit) bool { return c.RefundID == "r1" }) }},
			{"billing has two decisions", func(s *shop) { s.b.Credits = append(s.b.Credits, s.b.Credits[0]) }},
			{"billing has declined it", func(s *shop) { s.b.Credits[0].Outcome = "bill_owes" }},
			{"billing has refunded a decline", func(s *shop) { s.b.Credits[1].Outcome = "refunded" }},
			{"billing has another reason", func(s *shop) { s.b.Credits[1].Outcome = "bill_owes" }},
			{"billing has another amount", func(s *shop) { s.b.Credits[0].Amount++ }},
			{"billing has another bill", func(s *shop) { s.b.Credits[0].BillID++ }},
			{"billing has another user", func(s *shop) { s.b.Credits[0].UserID++ }},
			{"billing has another purchase", func(s *shop) { s.b.Credits[1].PurchaseID = "q" }},
			{"catalog does not have it", func(s *shop) { drop(&s.b.Refunds, func(r history.RefundRow) bool { return r.ID == "r2" }) }},
			{"catalog has it twice", func(s *shop) { s.b.Refunds = append(s.b.Refunds, s.b.Refunds[0]) }},
			{"it is still pending", func(s *shop) {
				s.b.Refunds[1].Status, s.b.Refunds[1].Reason = "pending", ""
				s.h.Refunds = s.h.Refunds[:3]
			}},
			{"catalog has another transaction", func(s *shop) { s.b.Refunds[0].TransactionID = new(int64(1)) }},
			{"catalog has another user than the purchase", func(s *shop) { s.b.Refunds[1].UserID, s.b.Credits[1].UserID = 3, 3 }},
			{"no client requested it", func(s *shop) {
				drop(&s.h.Refunds, func(r history.Refund) bool { return r.Key == "b" })
			}},
			{"an answer has another transaction", func(s *shop) { s.h.Refunds[1].TransactionID = new(int64(1)) }},
			{"an answer has another amount", func(s *shop) { s.h.Refunds[0].Refunded++ }},
			{"an answer is another decline", func(s *shop) { s.h.Refunds[3].Code = "bill_owes" }},
			{"a completed one was answered as declined", func(s *shop) {
				s.h.Refunds[1].Status, s.h.Refunds[1].Code, s.h.Refunds[1].State = 409, "bill_owes", "declined"
			}},
			{"a repeat names another refund", func(s *shop) { s.h.Refunds[1].RefundID = "r2" }},
			{"a key has another purchase", func(s *shop) { s.h.Refunds[2].PurchaseID, s.h.Refunds[3].PurchaseID = "q", "q" }},
		},
		"l": {
			{"a reversal is not cumulative", func(s *shop) {
				d := &s.b.Takebacks[1]
				d.Due, d.Debited = 300, 300
				s.h.Reversals[1].Debited = 300
				s.lineOfReversal(6).Amount = -300
				s.addUp()
				s.h.BillReads = nil
			}},
			{"more is taken than was credited", func(s *shop) {
				s.b.Takebacks[1].Total, s.b.Takebacks[1].Due, s.b.Takebacks[1].Shortfall = 1001, 801, 701
				s.h.Reversals[1].Total, s.h.Reversals[1].Shortfall = 1001, 701
			}},
			{"it is not in the ledger", func(s *shop) {
				drop(&s.b.Transactions, func(t history.Transaction) bool { return t.ReversalID != nil && *t.ReversalID == 6 })
				s.addUp()
				s.h.BillReads = nil
			}},
			{"it is there with another amount", func(s *shop) { s.lineOfReversal(6).Amount--; s.addUp(); s.h.BillReads = nil }},
			{"it is there under another id", func(s *shop) { s.lineOfReversal(6).ID++ }},
			{"it does not add up", func(s *shop) { s.b.Takebacks[0].Shortfall = 1; s.h.Reversals[0].Shortfall = 1 }},
			{"billing has no decision", func(s *shop) {
				drop(&s.b.Takebacks, func(d history.Takeback) bool { return d.ReversalID == 6 })
			}},
			{"billing has two decisions", func(s *shop) { s.b.Takebacks = append(s.b.Takebacks, s.b.Takebacks[0]) }},
			{"no client sent it", func(s *shop) { s.h.Reversals = s.h.Reversals[:1] }},
			{"an answer has another debit", func(s *shop) { s.h.Reversals[0].Debited-- }},
			{"an answer has another shortfall", func(s *shop) { s.h.Reversals[0].Shortfall++ }},
			{"billing has another total", func(s *shop) { s.h.Reversals[0].Total++ }},
			{"billing has another payment", func(s *shop) { s.h.Reversals[1].PaymentID = 2 }},
		},
	} {
		for _, c := range all {
			s := refunded()
			c.breakIt(s)
			wrong := check.Check(s.h, s.b, check.Options{})
			if len(wrong) == 0 {
				t.Errorf("%s: not noticed", c.name)
			}
			for _, v := range wrong {
				if v.Invariant != letter {
					t.Errorf("%s: %s, want only %s", c.name, v, letter)
				}
			}
		}
	}
}
