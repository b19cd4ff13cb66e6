package check_test

import (
	"testing"
	"time"

	"lavka/tests/faults/check"
	"lavka/tests/faults/history"
)

func TestJ(t *testing.T) {
	t.Parallel()
	banned := func(s *shop) *history.Buy { return &s.h.Buys[len(s.h.Buys)-1] }
	wantOnly(t, "j", []broken{
		{"billing does not know a user", func(s *shop) { s.b.Customers = s.b.Customers[1:] }},
		{"billing knows another status", func(s *shop) { s.b.Customers[2].Status = "active" }},
		{"billing knows another version", func(s *shop) { s.b.Customers[0].Version++ }},
		{"billing knows a user only from a token", func(s *shop) { s.b.Customers[0].Version = 0 }},
		{"billing knows a user who is not there", func(s *shop) { s.b.Customers = append(s.b.Customers, history.User{ID: 8, Status: "active"}) }},
		{"billing knows a user twice", func(s *shop) { s.b.Customers = append(s.b.Customers, s.b.Customers[0]) }},
		{"a disabled user gets in", func(s *shop) { s.h.Accesses[1].Status = 200 }},
		{"a disabled user gets in with a new token", func(s *shop) { s.h.Accesses[1].Status, s.h.Accesses[1].TokenFrom = 200, 299e6 }},
		{"a disabled user reads a bill", func(s *shop) {
			s.h.BillReads = append(s.h.BillReads, history.BillRead{Call: history.Call{Start: 300e6, End: 301e6, Status: 200}, UserID: 3, BillID: 30, Balance: 200})
		}},
		{"a disabled user reads a page", func(s *shop) {
			l := s.creditOf(3)
			s.h.Pages = append(s.h.Pages, history.Page{Call: history.Call{Start: 300e6, End: 301e6, Status: 200}, UserID: 3, BillID: 30,
				Lines: []history.Line{{ID: l.ID, Amount: l.Amount, After: l.After, PaymentID: l.PaymentID}}})
		}},
		{"a disabled user looks at a purchase", func(s *shop) {
			s.h.Looks = append(s.h.Looks, history.Look{Call: history.Call{Start: 300e6, End: 301e6, Status: 200}, UserID: 3, PurchaseID: "poor", State: "declined", Reason: "insufficient_funds", Price: 250})
		}},
		{"a disabled user buys", func(s *shop) {
			*banned(s) = order(3, 1, 30, "")
			b := banned(s)
			b.Start, b.End = 300e6, 301e6
			s.invent(history.Purchase{ID: "x", UserID: 3, ProductID: 1, BillID: 30, Price: 120})
			r := s.row("x")
			b.Status, b.PurchaseID, b.State, b.Price, b.TransactionID = 201, "x", "completed", &r.Price, r.TransactionID
		}},
		{"a disabled user buys without an answer", func(s *shop) {
			banned(s).Status = 0
			s.invent(history.Purchase{ID: "x", UserID: 3, ProductID: 1, BillID: 30, Price: 120})
		}},
	})
}

func TestAccessOfUsers(t *testing.T) {
	t.Parallel()
	enabling := func(start, end time.Duration, status int) history.Switch {
		return history.Switch{Call: history.Call{Start: start, End: end, Status: status}, UserID: 3, Enabled: true}
	}
	const ms = time.Millisecond
	for _, c := range []struct {
		name   string
		change func(*shop)
		found  bool
	}{
		{"soon after", func(s *shop) { s.h.Accesses[1].Start = 264*ms + limit }, false},
		{"a moment later", func(s *shop) { s.h.Accesses[1].Start = 264*ms + limit + 1 }, true},
		{"enabled again", func(s *shop) { s.h.Switches = append(s.h.Switches, enabling(299*ms, 301*ms, 200)) }, false},
		{"enabled again at that moment", func(s *shop) { s.h.Switches = append(s.h.Switches, enabling(300*ms, 301*ms, 200)) }, false},
		{"enabled long since", func(s *shop) {
			s.h.Switches = append(s.h.Switches, enabling(290*ms, 295*ms, 200))
			s.h.Accesses[1].Start = 330 * ms
		}, false},
		{"enabled until then", func(s *shop) { s.h.Switches = append(s.h.Switches, enabling(250*ms, 260*ms, 200)) }, false},
		{"another user is enabled", func(s *shop) {
			s.h.Switches = append(s.h.Switches, enabling(299*ms, 301*ms, 200))
			s.h.Switches[1].UserID = 2
		}, true},
		{"perhaps enabled again", func(s *shop) { s.h.Switches = append(s.h.Switches, enabling(299*ms, 301*ms, 0)) }, false},
		{"enabled at the same time", func(s *shop) { s.h.Switches = append(s.h.Switches, enabling(259*ms, 261*ms, 200)) }, false},
		{"perhaps enabled late", func(s *shop) { s.h.Switches = append(s.h.Switches, enabling(240*ms, 250*ms, 502)) }, false},
		{"enabled before", func(s *shop) { s.h.Switches = append(s.h.Switches, enabling(240*ms, 250*ms, 200)) }, true},
		{"enabled later", func(s *shop) { s.h.Switches = append(s.h.Switches, enabling(301*ms, 303*ms, 200)) }, true},
		{"not enabled", func(s *shop) { s.h.Switches = append(s.h.Switches, enabling(290*ms, 295*ms, 403)) }, true},
		{"perhaps not disabled", func(s *shop) { s.h.Switches[0].Status = 0 }, false},
	} {
		s := story()
		s.h.Accesses[1].Status = 200
		c.change(s)
		found := check.Check(s.h, s.b, options)
		if c.found != (len(found) == 1 && found[0].Invariant == "j") || !c.found && len(found) > 0 {
			t.Errorf("%s: want a violation of j: %v, got %v", c.name, c.found, found)
		}
	}
}
