package billing

import (
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/problem"
)

// Item is one thing to decide: a payment or a purchase. Exactly one is set.
type Item struct {
	Payment *Payment
	Charge  *ChargeRequest
}

// BillID is the bill that an item is about, 0 when it can't be read.
func (i Item) BillID() int64 {
	if i.Payment != nil {
		return i.Payment.BillID
	}
	return i.Charge.BillID
}

// Result is what became of an item. Exactly one of its ways holds:
// Charge (a decision, new or repeated), Credited, Refusal, Held, Undecided,
// Poison, Err.
type Result struct {
	Charge    *Charge        // of a purchase
	Credited  bool           // of a payment
	Repeat    bool           // the decision was made before
	Refusal   *problem.Error // of a payment: final, nothing was credited
	Held      bool           // somebody else holds the bill: ask again soon
	Undecided bool           // an unreadable request that has not expired
	Poison    error          // the database refuses this item, and this one alone
	Err       error          // outcome unknown: ask again
}

// State is what a group knows, read after its bills were locked.
type State struct {
	Now       time.Time           // the database's clock
	Bills     map[int64]*Bill     // locked
	Held      map[int64]bool      // there, but locked by somebody else
	Customers map[int64]*Customer // of the items' users
	Charges   map[uuid.UUID]*Charge
	Payments  map[int64]*Payment
	NextID    func() int64 // of transactions, rising
}

// Changes are what a group writes.
type Changes struct {
	Balances     map[int64]*Bill
	Transactions []Transaction // in the order of their ids
	Charges      []Charge
}

// Decide decides the items in order of arrival, each in sight of the ones
// before it: the same id twice is one decision and two answers.
func Decide(s State, items []Item) ([]Result, Changes) {
	g := &decider{State: s, changes: Changes{Balances: map[int64]*Bill{}}}
	results := make([]Result, len(items))
	for i, item := range items {
		if item.Payment != nil {
			results[i] = g.payment(*item.Payment)
		} else {
			results[i] = g.charge(*item.Charge)
		}
	}
	return results, g.changes
}

type decider struct {
	State
	changes Changes
}

func (g *decider) payment(p Payment) Result {
	bill, owner := g.Bills[p.BillID], g.Customers[p.UserID]
	if g.Held[p.BillID] {
		return Result{Held: true}
	}
	known := g.Payments[p.ID]
	if known == nil && owner != nil && bill == nil {
		// The bill was not made in this group's first step, because the user
		// was not known then, or another item of the same id came before.
		return Result{Held: true}
	}
	repeat, refusal := decidePayment(p, known, owner, bill)
	switch {
	case refusal != nil:
		return Result{Refusal: refusal}
	case repeat:
		return Result{Credited: true, Repeat: true}
	}
	id := p.ID
	g.write(bill, Transaction{Amount: p.Amount, Type: TypePayment, PaymentID: &id})
	g.Payments[p.ID] = &p
	return Result{Credited: true}
}

func (g *decider) charge(r ChargeRequest) Result {
	if g.Held[r.BillID] {
		return Result{Held: true}
	}
	if known := g.Charges[r.PurchaseID]; known != nil {
		return Result{Charge: known, Repeat: true}
	}
	if r.Unreadable && g.Now.Before(r.ExpiresAt) {
		return Result{Undecided: true}
	}
	bill := g.Bills[r.BillID]
	c := decideCharge(r, bill, g.Customers[r.UserID], g.Now)
	if c.Outcome == Settled {
		purchase := r.PurchaseID
		id := g.write(bill, Transaction{Amount: -r.Amount, Type: TypePurchase, PurchaseID: &purchase})
		c.TransactionID = &id
	}
	g.Charges[r.PurchaseID] = &c
	g.changes.Charges = append(g.changes.Charges, c)
	return Result{Charge: &c}
}

// write adds a line to the ledger and moves the bill's balance.
func (g *decider) write(bill *Bill, t Transaction) int64 {
	bill.Balance += t.Amount
	t.ID, t.BillID, t.UserID, t.BalanceAfter = g.NextID(), bill.ID, bill.UserID, bill.Balance
	g.changes.Balances[bill.ID] = bill
	g.changes.Transactions = append(g.changes.Transactions, t)
	return t.ID
}
