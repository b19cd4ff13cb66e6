package check_test

import (
	"slices"
	"time"

	"lavka/tests/faults/history"
)

// The shop's calls that move no money.

func (s *shop) readBill(t span, client int, user, id int64) {
	r := history.BillRead{Call: t.call(client), UserID: user, BillID: id}
	good := s.token(t.start, user)
	s.at(t.does, func() {
		r.Status, r.Code = 404, "bill_not_found"
		if b := s.bill(id); b != nil && b.UserID == user && good() {
			r.Status, r.Code, r.Balance = 200, "", b.Balance
		}
	})
	s.at(t.end, func() { s.h.BillReads = append(s.h.BillReads, r) })
}

func (s *shop) readPage(t span, client int, user, id int64) {
	const limit = 3
	p := history.Page{Call: t.call(client), UserID: user, BillID: id}
	good := s.token(t.start, user)
	s.at(t.does, func() {
		p.Status = 404
		if b := s.bill(id); b == nil || b.UserID != user || !good() {
			return
		}
		p.Status = 200
		for _, l := range slices.Backward(s.b.Transactions) {
			if l.BillID == id && len(p.Lines) < limit {
				p.Lines = append(p.Lines, history.Line{ID: l.ID, Amount: l.Amount, After: l.After, PaymentID: l.PaymentID, PurchaseID: l.PurchaseID})
			}
		}
	})
	s.at(t.end, func() { s.h.Pages = append(s.h.Pages, p) })
}

func (s *shop) look(t span, client int, user int64, id string) {
	l := history.Look{Call: t.call(client), UserID: user, PurchaseID: id}
	good := s.token(t.start, user)
	s.at(t.does, func() {
		i, ok := s.rows[id]
		switch {
		case !good():
			l.Status, l.Code = 401, "token_invalid"
		case !ok || s.b.Purchases[i].UserID != user:
			l.Status, l.Code = 404, "purchase_not_found"
		default:
			r := s.b.Purchases[i]
			l.Status, l.State, l.Reason, l.Price, l.TransactionID = 200, r.Status, r.Reason, r.Price, r.TransactionID
		}
	})
	s.at(t.end, func() { s.h.Looks = append(s.h.Looks, l) })
}

// reprice sets a price; not answered when lost, and never done when neither.
func (s *shop) reprice(t span, product, price int64, answer problem, done bool) {
	r := history.Reprice{Call: t.call(0), ProductID: product, Price: price}
	r.Status, r.Code = answer.status, answer.code
	s.at(t.does, func() {
		if done {
			s.prices[product] = price
		}
	})
	s.at(t.end, func() { s.h.Reprices = append(s.h.Reprices, r) })
}

func (s *shop) enable(t span, user int64, enabled bool) {
	s.at(t.does, func() {
		s.disabled[user] = !enabled
		if !enabled {
			s.bans[user]++
		}
		for i := range s.b.Users {
			if u := &s.b.Users[i]; u.ID == user {
				u.Version++
				u.Status = map[bool]string{true: "active", false: "disabled"}[enabled]
			}
		}
	})
	s.at(t.end, func() {
		w := history.Switch{Call: t.call(0), UserID: user, Enabled: enabled}
		w.Status = 200
		s.h.Switches = append(s.h.Switches, w)
	})
}

func (s *shop) access(t span, user int64, tokenFrom int) {
	a := history.Access{Call: t.call(int(user)), UserID: user, TokenFrom: time.Duration(tokenFrom) * time.Millisecond, Replica: "billing-2"}
	good := s.token(tokenFrom, user)
	s.at(t.does, func() {
		a.Status = 200
		if !good() {
			a.Status, a.Code = 401, "token_invalid"
		}
	})
	s.at(t.end, func() { s.h.Accesses = append(s.h.Accesses, a) })
}
