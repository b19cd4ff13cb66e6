package check_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lavka/tests/faults/check"
	"lavka/tests/faults/history"
)

// dice returns a number from 0 to n−1.
type dice func(n int) int

// randomShop returns a shop with the given number of random calls. One starts every
// every milliseconds, and each takes up to 50 ms: the smaller every is, the more
// calls overlap. Calls close in time request the same things. A tenth of them gets
// no answer, or an inconclusive one.
func randomShop(d dice, calls, every int) *shop {
	s := newShop(1, 2, 3)
	for product := range int64(2) {
		s.reprice(span{0, 0, 0}, 1+product, 100*(1+product), problem{201, ""}, true)
	}
	for n := range calls {
		s.random(d, n, n*every+d(10))
	}
	return s.play()
}

func (s *shop) random(d dice, n, start int) {
	recent := func() int { return max(0, n-d(20)) }
	does := start + d(20)
	t := span{start, does, does + d(20)}
	user := int64(1 + d(3))
	bill := 10*user + int64(d(2))
	client := 1000 + n
	switch d(12) {
	case 0, 1, 2:
		p := history.Pay{Call: history.Call{Client: client}, PaymentID: int64(1 + recent()/3), UserID: user, BillID: bill, Amount: int64(50 * (1 + d(6)))}
		s.pay(t, p, unanswered(d, problem{503, "outcome_unknown"}))
	case 3, 4, 5, 6:
		t.end += d(20)
		s.randomBuy(d, t, n, recent()/3, user, bill)
	case 7:
		s.readBill(t, client, user, bill)
	case 8:
		s.readPage(t, client, user, bill)
	case 9:
		s.look(t, client, user, fmt.Sprint("purchase-", recent()))
	case 10:
		done := []problem{{200, ""}, {0, ""}, {0, ""}, {422, "invalid_amount"}}
		how := d(4)
		s.reprice(t, int64(1+d(2)), int64(50*(1+d(6))), done[how], how < 2)
	case 11:
		s.access(t, 3, max(0, start-d(200)))
		if d(4) == 0 {
			s.enable(t, 3, d(2) == 0)
		}
	}
}

func (s *shop) randomBuy(d dice, t span, n, k int, user, bill int64) {
	o := buying{span: t, Buy: order(user, int64(1+d(2)), bill, ""), id: fmt.Sprint("purchase-", n)}
	o.Client = 1000 + n
	o.decided = t.does + d(15)
	o.written = o.decided + d(5)
	if d(10) == 0 {
		o.BillID = 10*int64(1+d(3)) + int64(d(2))
	}
	if d(3) == 0 {
		o.Expected = new(int64(50 * (1 + d(6))))
	}
	if d(2) == 0 {
		// The same key has the same content, more often than not.
		o.Key = fmt.Sprint("key-", k)
		if d(8) > 0 {
			o.Expected, o.ProductID, o.UserID, o.BillID = nil, int64(1+k%2), int64(1+k%3), int64(10+10*(k%3))
		}
	}
	o.full = d(10) == 0
	o.answer = unanswered(d, problem{503, "outcome_unknown"})
	o.never = o.answer != nil && d(3) == 0
	if o.answer != nil && o.answer.status != 503 {
		o.does += d(50) // after the client has gone
		o.decided, o.written = o.decided+50, o.written+50
	}
	s.buy(o)
	if d(2) == 0 {
		start := t.end + d(20)
		s.look(span{start, start + d(5), start + 5}, o.Client, o.UserID, o.id)
	}
}

func unanswered(d dice, unknown problem) *problem {
	if d(10) > 0 {
		return nil
	}
	return &[]problem{lost, {502, "bad_gateway"}, {500, "internal"}, unknown}[d(4)]
}

// revoked are the options for a random shop, which obeys at once.
var revoked = check.Options{RevocationLimit: 1}

// corruptions each break one promise, if the history has what it takes.
var corruptions = map[string]func(*shop, dice) bool{
	"a credit is lost": func(s *shop, d dice) bool {
		p, ok := pick(d, s.h.Pays, func(p history.Pay) bool { return p.Status == 200 })
		if ok {
			s.uncredit(p.PaymentID)
		}
		return ok
	},
	"a credit is doubled": func(s *shop, d dice) bool {
		p, ok := pick(d, s.h.Pays, func(p history.Pay) bool { return p.Status == 200 })
		if ok {
			s.double(*s.creditOf(p.PaymentID))
		}
		return ok
	},
	"a purchase is lost everywhere": func(s *shop, d dice) bool {
		b, ok := pick(d, s.h.Buys, func(b history.Buy) bool { return b.Status == 201 || b.Status == 202 })
		if ok {
			s.unrow(b.PurchaseID)
			s.uncharge(b.PurchaseID)
			s.undebit(b.PurchaseID)
		}
		return ok
	},
	"a purchase is charged twice": func(s *shop, d dice) bool {
		r, ok := pick(d, s.b.Purchases, func(r history.Purchase) bool { return r.Status == "completed" })
		if ok {
			s.double(*s.debit(r.ID))
		}
		return ok
	},
	"a purchase is left pending": func(s *shop, d dice) bool {
		if len(s.b.Purchases) == 0 {
			return false
		}
		r := &s.b.Purchases[d(len(s.b.Purchases))]
		r.Status, r.Reason, r.TransactionID = "pending", "", nil
		return true
	},
	"a completed purchase is declined everywhere": func(s *shop, d dice) bool {
		b, ok := pick(d, s.h.Buys, func(b history.Buy) bool { return b.Status == 201 })
		if ok {
			s.unsettle(b.PurchaseID)
		}
		return ok
	},
	"a purchase that no client requested": func(s *shop, _ dice) bool {
		s.invent(history.Purchase{ID: "x", UserID: 1, ProductID: 1, BillID: 10, Price: 100, Key: "x"})
		return true
	},
	"a key is used twice": func(s *shop, d dice) bool {
		r, ok := pick(d, s.b.Purchases, func(r history.Purchase) bool { return r.Key != "" })
		if ok {
			r.ID = "x"
			s.invent(r)
		}
		return ok
	},
	"an answer names another price": func(s *shop, d dice) bool {
		for i := range s.h.Buys {
			if b := &s.h.Buys[i]; b.PurchaseID != "" && b.Price != nil {
				b.Price = new(*b.Price + 1)
				return true
			}
		}
		return false
	},
	"an order is sold at another price": func(s *shop, d dice) bool {
		r, ok := pick(d, s.b.Purchases, func(r history.Purchase) bool { return r.Status == "completed" })
		if ok {
			s.sell(r.ID, r.Price+1)
		}
		return ok
	},
	"a balance is read that never was": func(s *shop, d dice) bool {
		for i := range s.h.BillReads {
			if r := &s.h.BillReads[i]; r.Status == 200 {
				r.Balance++
				return true
			}
		}
		return false
	},
	"a later credit goes before an earlier one": func(s *shop, d dice) bool {
		p, ok := pick(d, s.h.Pays, func(p history.Pay) bool { return p.Status == 200 })
		q, later := pick(d, s.h.Pays, func(q history.Pay) bool {
			return q.Status == 200 && q.BillID == p.BillID && q.PaymentID != p.PaymentID && s.firstSent(q.PaymentID) > p.End
		})
		if ok && later {
			s.creditOf(q.PaymentID).ID = s.creditOf(p.PaymentID).ID - 1
			s.addUp()
		}
		return ok && later
	},
	"a disabled user is let in": func(s *shop, d dice) bool {
		for i := range s.h.Accesses {
			a := &s.h.Accesses[i]
			for _, off := range s.h.Switches {
				if !off.Enabled && off.End+1 < a.Start && !s.enabledUntil(a.Start, off.Start) {
					a.Status = 200
					return true
				}
			}
		}
		return false
	},
	"billing lacks a change of a user": func(s *shop, d dice) bool {
		s.b.Customers[2].Version--
		return true
	},
}

// pick gives one of those that match.
func pick[T any](d dice, list []T, match func(T) bool) (T, bool) {
	var some []T
	for _, v := range list {
		if match(v) {
			some = append(some, v)
		}
	}
	if len(some) == 0 {
		var none T
		return none, false
	}
	return some[d(len(some))], true
}

func (s *shop) firstSent(payment int64) time.Duration {
	first := time.Hour
	for _, p := range s.h.Pays {
		if p.PaymentID == payment {
			first = min(first, p.Start)
		}
	}
	return first
}

func (s *shop) enabledUntil(moment, from time.Duration) bool {
	for _, on := range s.h.Switches {
		if on.Enabled && on.End >= from && on.Start <= moment {
			return true
		}
	}
	return false
}

func TestValidHistoriesPass(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := randomShop(drawn(t), rapid.IntRange(0, 60).Draw(t, "calls"), rapid.IntRange(0, 20).Draw(t, "every"))
		for _, v := range check.Check(s.h, s.b, revoked) {
			t.Error(v)
		}
	})
}

func TestBrokenHistoriesAreFound(t *testing.T) {
	t.Parallel()
	for name, breakIt := range corruptions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := 0
			rapid.Check(t, func(t *rapid.T) {
				d := drawn(t)
				s := randomShop(d, 40, rapid.IntRange(0, 20).Draw(t, "every"))
				if !breakIt(s, d) {
					return
				}
				broken++
				if found := check.Check(s.h, s.b, revoked); len(found) == 0 {
					t.Fatal("nothing was found")
				}
			})
			if broken == 0 {
				t.Error("it was never done")
			}
		})
	}
}

func drawn(t *rapid.T) dice {
	return func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }
}

func TestALongRun(t *testing.T) {
	t.Parallel()
	s := randomShop(rand.New(rand.NewPCG(1, 2)).IntN, 50_000, 2)
	for _, v := range check.Check(s.h, s.b, revoked) {
		t.Error(v)
	}
}
