package check_test

import (
	"cmp"
	"slices"
	"time"

	"lavka/tests/faults/history"
)

// shop is a shop in memory that keeps its word. What is asked of it is planned
// first, each call with the moments at which it takes effect, and then played in
// the order of these moments. Moments are in milliseconds.
type shop struct {
	h history.History
	b history.Books

	plan     []moment
	prices   map[int64]int64
	disabled map[int64]bool
	bans     map[int64]int // how often a user was disabled

	// Where things are in the books.
	keys    map[wish]int
	rows    map[string]int
	charges map[string]int
	credits map[int64]int
	bills   map[int64]int
}

type wish struct {
	user int64
	key  string
}

type moment struct {
	at time.Duration
	do func()
}

func newShop(users ...int64) *shop {
	s := &shop{
		prices: map[int64]int64{}, disabled: map[int64]bool{}, bans: map[int64]int{},
		keys: map[wish]int{}, rows: map[string]int{}, charges: map[string]int{}, credits: map[int64]int{}, bills: map[int64]int{},
	}
	for _, id := range users {
		s.b.Users = append(s.b.Users, history.User{ID: id, Status: "active", Version: 1})
	}
	return s
}

func (s *shop) at(ms int, do func()) {
	s.plan = append(s.plan, moment{time.Duration(ms) * time.Millisecond, do})
}

// play has everything happen that was planned.
func (s *shop) play() *shop {
	slices.SortStableFunc(s.plan, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	for _, m := range s.plan {
		m.do()
	}
	s.plan = nil
	s.b.Customers = slices.Clone(s.b.Users)
	return s
}

// span is when a call is made, and when it takes effect.
type span struct{ start, does, end int }

// call is a call of that span. A lost one is not answered, and its effect may
// come after its end.
func (t span) call(client int) history.Call {
	return history.Call{Client: client, Start: time.Duration(t.start) * time.Millisecond, End: time.Duration(t.end) * time.Millisecond}
}

// token returns a function that reports whether a token that the user got at that
// moment is still valid. A disabled user has none, and a ban ends a token forever.
func (s *shop) token(ms int, user int64) (good func() bool) {
	bans := -1
	s.at(ms, func() {
		if !s.disabled[user] {
			bans = s.bans[user]
		}
	})
	return func() bool { return bans == s.bans[user] }
}

// lost is what a client gets who gets no answer.
var lost = problem{0, ""}

type problem struct {
	status int
	code   string
}

// buying is a call of a buyer and what becomes of it.
type buying struct {
	span
	history.Buy
	id      string   // of the purchase, if it makes one
	decided int      // when billing decides; 0: does
	written int      // when catalog has written that; 0: decided
	answer  *problem // instead of the true one
	full    bool     // there is no room for one more
	never   bool     // it does not arrive
}

func (s *shop) buy(o buying) {
	o.decided = cmp.Or(o.decided, o.does)
	o.written = max(o.written, o.decided)
	var row int
	var refusal problem
	var price int64
	mine := false
	good := s.token(o.start, o.UserID)
	s.at(o.does, func() {
		if o.never {
			return
		}
		if !good() {
			refusal = problem{401, "token_invalid"}
			return
		}
		price = s.prices[o.ProductID]
		if row, refusal = s.place(o); refusal.status == 0 {
			mine = s.b.Purchases[row].ID == o.id
		}
	})
	s.at(o.decided, func() {
		if mine {
			s.charge(s.b.Purchases[row])
		}
	})
	s.at(o.written, func() {
		if mine {
			s.settle(&s.b.Purchases[row])
		}
	})
	s.at(o.end, func() {
		b := o.Buy
		b.Call = o.call(b.Client)
		switch {
		case o.answer != nil:
			b.Status, b.Code = o.answer.status, o.answer.code
			if b.Status == 503 && b.Code == "outcome_unknown" && b.Key == "" {
				b.PurchaseID = o.id
			}
		case refusal.status != 0:
			b.Status, b.Code = refusal.status, refusal.code
			if refusal.code == "price_changed" {
				b.Price = &price
			}
		default:
			b.Replayed = !mine
			show(&b, s.b.Purchases[row])
		}
		s.h.Buys = append(s.h.Buys, b)
	})
}

// place makes a row, or finds the one of the same key.
func (s *shop) place(o buying) (row int, refusal problem) {
	if i, ok := s.keys[wish{o.UserID, o.Key}]; ok && o.Key != "" {
		if r := s.b.Purchases[i]; r.ProductID != o.ProductID || r.BillID != o.BillID || !equal(r.Expected, o.Expected) {
			return 0, problem{422, "idempotency_key_reused"}
		}
		return i, problem{}
	}
	price, ok := s.prices[o.ProductID]
	switch {
	case o.full:
		return 0, problem{503, "overloaded"}
	case !ok:
		return 0, problem{404, "product_not_found"}
	case o.Expected != nil && *o.Expected != price:
		return 0, problem{409, "price_changed"}
	}
	s.b.Purchases = append(s.b.Purchases, history.Purchase{
		ID: o.id, UserID: o.UserID, ProductID: o.ProductID, BillID: o.BillID, Key: o.Key, Price: price, Expected: o.Expected, Status: "pending",
	})
	i := len(s.b.Purchases) - 1
	s.rows[o.id], s.keys[wish{o.UserID, o.Key}] = i, i
	return i, problem{}
}

// charge is billing's decision.
func (s *shop) charge(r history.Purchase) {
	c := history.Charge{PurchaseID: r.ID, UserID: r.UserID, BillID: r.BillID, Amount: r.Price}
	switch b := s.bill(r.BillID); {
	case b == nil || b.UserID != r.UserID:
		c.Outcome = "bill_not_found"
	case s.disabled[r.UserID]:
		c.Outcome = "buyer_disabled"
	case b.Balance < r.Price:
		c.Outcome, c.Balance = "insufficient_funds", new(b.Balance)
	default:
		t := s.write(b, history.Transaction{Amount: -r.Price, PurchaseID: new(r.ID)})
		c.Outcome, c.Balance, c.TransactionID = "settled", new(t.After), new(t.ID)
	}
	s.charges[r.ID] = len(s.b.Charges)
	s.b.Charges = append(s.b.Charges, c)
}

func (s *shop) write(b *history.Bill, t history.Transaction) history.Transaction {
	b.Balance += t.Amount
	t.ID, t.BillID, t.UserID, t.After = int64(10*len(s.b.Transactions)+10), b.ID, b.UserID, b.Balance
	s.b.Transactions = append(s.b.Transactions, t)
	return t
}

// settle writes billing's decision into catalog's row.
func (s *shop) settle(r *history.Purchase) {
	c := s.b.Charges[s.charges[r.ID]]
	if c.Outcome == "settled" {
		r.Status, r.TransactionID = "completed", c.TransactionID
	} else {
		r.Status, r.Reason, r.Balance = "declined", c.Outcome, c.Balance
	}
}

// show is the answer to a purchase as it is now.
func show(b *history.Buy, r history.Purchase) {
	b.PurchaseID, b.State, b.Price = r.ID, r.Status, new(r.Price)
	switch r.Status + r.Reason {
	case "pending":
		b.Status = 202
	case "completed":
		b.Status, b.TransactionID = 201, r.TransactionID
	case "declinedinsufficient_funds":
		b.Status, b.Code, b.Balance = 402, r.Reason, r.Balance
	case "declinedbill_not_found":
		b.Status, b.Code, b.Price = 404, r.Reason, nil
	case "declinedbuyer_disabled":
		b.Status, b.Code, b.Price = 403, "user_disabled", nil
	}
}

// pay is a payment; with answer instead of the true answer.
func (s *shop) pay(t span, p history.Pay, answer *problem) {
	s.at(t.does, func() { p.Status, p.Code, p.Replayed = s.credit(p) })
	s.at(t.end, func() {
		status, code, replayed := p.Status, p.Code, p.Replayed
		p.Call = t.call(p.Client)
		p.Status, p.Code, p.Replayed = status, code, replayed
		if answer != nil {
			p.Status, p.Code, p.Replayed = answer.status, answer.code, false
		}
		s.h.Pays = append(s.h.Pays, p)
	})
}

func (s *shop) credit(p history.Pay) (status int, code string, replayed bool) {
	if i, ok := s.credits[p.PaymentID]; ok {
		t := s.b.Transactions[i]
		if t.UserID != p.UserID || t.BillID != p.BillID || t.Amount != p.Amount {
			return 409, "transaction_conflict", false
		}
		return 200, "", true
	}
	known := slices.ContainsFunc(s.b.Users, func(u history.User) bool { return u.ID == p.UserID })
	if !known {
		return 404, "user_not_found", false
	}
	b := s.bill(p.BillID)
	if b == nil {
		b = s.open(p.UserID, p.BillID)
	}
	if b.UserID != p.UserID {
		return 409, "bill_owner_mismatch", false
	}
	s.credits[p.PaymentID] = len(s.b.Transactions)
	s.write(b, history.Transaction{Amount: p.Amount, PaymentID: new(p.PaymentID)})
	return 200, "", false
}

// open makes an empty bill.
func (s *shop) open(user, id int64) *history.Bill {
	s.bills[id] = len(s.b.Bills)
	s.b.Bills = append(s.b.Bills, history.Bill{ID: id, UserID: user})
	return s.bill(id)
}

func (s *shop) bill(id int64) *history.Bill {
	if i, ok := s.bills[id]; ok {
		return &s.b.Bills[i]
	}
	return nil
}

func equal(a, b *int64) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }
