package check

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"pgregory.net/rapid"

	"lavka/tests/faults/history"
)

// Both judges of (g) say the same of any story, true or not. An order that walk
// has found stays one when the bounds are narrowed to it.
func TestBothLinearizabilityCheckersAgree(t *testing.T) {
	t.Parallel()
	said := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		s := &story{sums: []int64{0}}
		moment := rapid.IntRange(0, 12)
		some := func() event {
			e := event{
				from: time.Duration(moment.Draw(t, "from")), to: time.Duration(moment.Draw(t, "to")),
				length: anyLength, what: func() string { return "it" },
			}
			if e.to < e.from {
				e.to = forever
			}
			return e
		}
		for i := range rapid.IntRange(0, 5).Draw(t, "lines") {
			e := some()
			e.line = i + 1
			s.lines = append(s.lines, e)
			s.sums = append(s.sums, s.sums[i]+int64(rapid.IntRange(-1, 1).Draw(t, "amount")))
		}
		for range rapid.IntRange(0, 5).Draw(t, "reads") {
			n := rapid.IntRange(0, len(s.lines)).Draw(t, "place")
			e := some()
			e.balance = s.sums[n]
			if rapid.Bool().Draw(t, "a page") {
				e.length = n
			}
			s.reads = append(s.reads, e)
		}
		slices.SortStableFunc(s.reads, func(a, b event) int { return cmp.Compare(a.from, b.from) })
		order, wrong := s.walk()
		if found := s.search(slices.Concat(s.lines, s.reads), 0) == porcupine.Ok; found != (wrong == "") {
			t.Fatalf("walk says %q, porcupine finds an order: %v", wrong, found)
		}
		if narrow(order); wrong == "" && s.search(order, 0) != porcupine.Ok {
			t.Fatal("porcupine finds an order only while the bounds are wide")
		}
		said[wrong == ""]++
	})
	if said[true] == 0 || said[false] == 0 {
		t.Errorf("only one verdict was ever given: %v", said)
	}
}

// hotBill returns a valid run of the given number of calls on one bill by 32
// clients: payments and purchases, a tenth of them never answered, reads and pages.
// The balance takes few values, so that it reveals little about the order.
func hotBill(calls int) (history.History, history.Books) {
	r := rand.New(rand.NewPCG(1, 2))
	h := history.History{Reprices: []history.Reprice{{Call: history.Call{Status: 201}, ProductID: 1, Price: 100}}}
	var lines []history.Transaction
	free := make([]time.Duration, 32) // when each client is
	balance, now := int64(0), time.Duration(0)
	var b history.Books
	for n := 1; n <= calls; n++ {
		// Effects are a millisecond apart and within their calls, which overlap.
		now += time.Millisecond
		client := 0
		for i := range free {
			if free[i] < free[client] {
				client = i
			}
		}
		call := history.Call{Client: client, Start: max(free[client], now-time.Duration(r.IntN(40_000))*time.Microsecond)}
		call.End = now + time.Duration(1+r.IntN(40_000))*time.Microsecond
		free[client], now = call.End, max(now, call.Start)
		lost := r.IntN(10) == 0
		switch kind := r.IntN(4); {
		case kind == 0:
			call.Status = 200
			h.BillReads = append(h.BillReads, history.BillRead{Call: call, UserID: 1, BillID: 10, Balance: balance})
		case kind == 1:
			call.Status = 200
			page := history.Page{Call: call, UserID: 1, BillID: 10}
			for i := len(lines) - 1; i >= max(0, len(lines)-20); i-- {
				l := lines[i]
				page.Lines = append(page.Lines, history.Line{ID: l.ID, Amount: l.Amount, After: l.After, PaymentID: l.PaymentID, PurchaseID: l.PurchaseID})
			}
			h.Pages = append(h.Pages, page)
		case balance < 100 || (kind == 2 && balance < 300):
			balance += 100
			id := int64(n)
			lines = append(lines, history.Transaction{ID: id, BillID: 10, UserID: 1, Amount: 100, After: balance, PaymentID: &id})
			if !lost {
				call.Status = 200
			}
			h.Pays = append(h.Pays, history.Pay{Call: call, PaymentID: id, UserID: 1, BillID: 10, Amount: 100})
		default:
			balance -= 100
			id, tx, price := time.Duration(n).String(), int64(n), int64(100)
			lines = append(lines, history.Transaction{ID: tx, BillID: 10, UserID: 1, Amount: -100, After: balance, PurchaseID: &id})
			after := balance
			b.Purchases = append(b.Purchases, history.Purchase{ID: id, UserID: 1, ProductID: 1, BillID: 10, Key: id, Price: 100, Status: "completed", TransactionID: &tx})
			b.Charges = append(b.Charges, history.Charge{PurchaseID: id, UserID: 1, BillID: 10, Amount: 100, Outcome: "settled", Balance: &after, TransactionID: &tx})
			buy := history.Buy{Call: call, UserID: 1, ProductID: 1, BillID: 10, Key: id}
			if !lost {
				buy.Status, buy.PurchaseID, buy.State, buy.Price, buy.TransactionID = 201, id, "completed", &price, &tx
			}
			h.Buys = append(h.Buys, buy)
		}
	}
	b.Transactions, b.Bills = lines, []history.Bill{{ID: 10, UserID: 1, Balance: balance}}
	return h, b
}

func TestAHotBill(t *testing.T) {
	t.Parallel()
	h, b := hotBill(5000)
	for _, v := range Check(h, b, Options{}) {
		t.Error(v)
	}
	h.BillReads[len(h.BillReads)/2].Balance = 12345
	if found := Check(h, b, Options{}); len(found) != 1 || found[0].Invariant != "g" {
		t.Errorf("want one violation of g, got %v", found)
	}
}

func BenchmarkHotBill(b *testing.B) {
	for _, calls := range []int{5000, 20000, 50000} {
		h, books := hotBill(calls)
		b.Run(strconv.Itoa(calls), func(b *testing.B) {
			for b.Loop() {
				if found := Check(h, books, Options{}); found != nil {
					b.Fatal(found)
				}
			}
		})
	}
}
