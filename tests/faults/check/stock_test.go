package check_test

import (
	"testing"
	"time"

	"lavka/tests/faults/check"
	"lavka/tests/faults/history"
)

// stocked is the shop of refunded, whose product 1 has limited stock: 5 to begin with, 3
// more under a key, 2 sold and 1 of them put back by the refund.
func stocked() *shop {
	s := refunded()
	call := func(start, status int, code string) history.Call {
		return history.Call{Client: 9, Start: time.Duration(start) * time.Millisecond, End: time.Duration(start+2) * time.Millisecond, Status: status, Code: code}
	}
	s.b.Stocks = []history.Stock{{ProductID: 1, OnHand: 8}}
	s.b.StockChanges = []history.StockChange{{ProductID: 1, Change: 5}, {ProductID: 1, Change: 3, Key: "s"}, {ProductID: 1, Change: 1, RefundID: new("r1")}}
	s.b.Purchases[0].Taken = 1
	s.b.Refunds[0].Restock = 1
	s.h.Refunds[0].Restock, s.h.Refunds[1].Restock = 1, 1
	s.b.Refunds[1].Restock = 1 // was declined
	s.h.Refunds[2].Restock, s.h.Refunds[3].Restock = 1, 1
	s.h.Stockings = []history.Stocking{
		{Call: call(15, 201, ""), ProductID: 1, Key: "s", Change: 3, OnHand: 7}, {Call: call(18, 201, ""), ProductID: 1, Key: "s", Change: 3, OnHand: 7},
		{Call: call(20, 409, "stock_out_of_range"), ProductID: 1, Key: "t", Change: -100},
	}
	s.h.Buys = append(s.h.Buys, history.Buy{Call: call(25, 409, "out_of_stock"), UserID: 2, ProductID: 1, BillID: 20, Quantity: 1000},
		history.Buy{Call: call(26, 429, "pending_limit"), UserID: 2, ProductID: 1, BillID: 20, Quantity: 11})
	return s
}

func TestStock(t *testing.T) {
	t.Parallel()
	if wrong := check.Check(stocked().h, stocked().b, check.Options{}); len(wrong) > 0 {
		t.Fatalf("nothing is wrong, but: %v", wrong)
	}
	for _, c := range []broken{
		{"a unit was given back twice", func(s *shop) { s.b.Stocks[0].OnHand++ }},
		{"a unit was sold twice", func(s *shop) { s.b.Stocks[0].OnHand-- }},
		{"the stock is below zero", func(s *shop) { s.b.Stocks[0].OnHand, s.b.StockChanges[0].Change = -1, -4 }},
		{"a purchase took nothing", func(s *shop) { s.b.Purchases[0].Taken = 0; s.b.Stocks[0].OnHand++ }},
		{"a purchase took too much", func(s *shop) { s.b.Purchases[0].Taken = 2; s.b.Stocks[0].OnHand-- }},
		{"a change is not there", func(s *shop) {
			drop(&s.b.StockChanges, func(c history.StockChange) bool { return c.Key == "s" })
			s.b.Stocks[0].OnHand -= 3
		}},
		{"a change is there twice", func(s *shop) {
			s.b.StockChanges = append(s.b.StockChanges, s.b.StockChanges[1])
			s.b.Stocks[0].OnHand += 3
		}},
		{"a change is another one", func(s *shop) { s.b.StockChanges[1].Change++; s.b.Stocks[0].OnHand++ }},
		{"no client requested a change", func(s *shop) { s.h.Stockings = s.h.Stockings[2:] }},
		{"a refund put nothing back", func(s *shop) { s.b.StockChanges = s.b.StockChanges[:2]; s.b.Stocks[0].OnHand-- }},
		{"a refund put back twice", func(s *shop) {
			s.b.StockChanges = append(s.b.StockChanges, s.b.StockChanges[2])
			s.b.Stocks[0].OnHand++
		}},
		{"a declined refund put something back", func(s *shop) {
			s.b.StockChanges = append(s.b.StockChanges, history.StockChange{ProductID: 1, Change: 1, RefundID: new("r2")})
			s.b.Stocks[0].OnHand++
		}},
	} {
		s := stocked()
		c.breakIt(s)
		wrong := check.Check(s.h, s.b, check.Options{})
		if len(wrong) == 0 {
			t.Errorf("%s: not noticed", c.name)
		}
		for _, v := range wrong {
			if v.Invariant != "p" {
				t.Errorf("%s: %s, want only p", c.name, v)
			}
		}
	}
	s := stocked() // what has no limit is not sold out
	s.b.Stocks, s.b.StockChanges, s.b.Purchases[0].Taken = nil, nil, 0
	s.h.Stockings = nil
	if wrong := check.Check(s.h, s.b, check.Options{}); len(wrong) != 2 || wrong[0].Invariant != "b" || wrong[1].Invariant != "b" {
		t.Errorf("refused for the stock of a product without a limit: %v", wrong)
	}
}
