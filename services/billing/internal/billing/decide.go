package billing

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

// Item is one thing to decide. It is a *Payment, a *Reversal, a *ChargeRequest or a
// *RefundRequest.
type Item interface {
	// TargetBill returns the id of the bill to credit or debit, or 0 if the
	// request could not be read, or the payment to reverse is unknown.
	TargetBill() int64
	item()
}

func (p *Payment) item()       {}
func (r *Reversal) item()      {}
func (r *ChargeRequest) item() {}
func (r *RefundRequest) item() {}

// TargetBill returns the id of the bill to credit.
func (p *Payment) TargetBill() int64 { return p.BillID }

// TargetBill returns the id of the bill to debit, or 0 if the payment is unknown.
func (r *Reversal) TargetBill() int64 {
	if r.Payment == nil {
		return 0
	}
	return r.Payment.BillID
}

// TargetBill returns the id of the bill to debit, or 0 if r is unreadable.
func (r *ChargeRequest) TargetBill() int64 { return r.BillID }

// TargetBill returns the id of the bill to credit.
func (r *RefundRequest) TargetBill() int64 { return r.BillID }

// Result is the result for an item. It is one of the types below. Of those,
// Decided, DecidedBefore and Undecided are for purchases only, RefundDecided and
// RefundDecidedBefore for refunds only; Credited and CreditedBefore are for payments
// only, Reversed and ReversedBefore for reversals only; Refused is for both of these.
type Result interface{ result() }

type (
	// Decided means that a purchase was decided now: settled or declined.
	Decided struct{ Charge *Charge }
	// DecidedBefore means that a purchase was decided earlier. The Charge is the
	// earlier decision.
	DecidedBefore struct{ Charge *Charge }
	// Undecided means that a purchase request could not be read and has not
	// expired yet.
	Undecided struct{}

	// RefundDecided means that a refund was decided now: credited or declined.
	RefundDecided struct{ Decision *RefundDecision }
	// RefundDecidedBefore means that a refund was decided earlier.
	RefundDecidedBefore struct{ Decision *RefundDecision }

	// Credited means that a payment was credited now.
	Credited struct{ Payment *Payment }
	// CreditedBefore means that a payment was credited earlier.
	CreditedBefore struct{}
	// Reversed means that a reversal was decided now.
	Reversed struct{ Decision *ReversalDecision }
	// ReversedBefore means that a reversal was decided earlier.
	ReversedBefore struct{ Decision *ReversalDecision }
	// Refused means that a payment or a reversal was refused. Nothing was booked.
	Refused struct{ Problem *problem.Error }

	// Held means that another transaction has locked the bill. Nothing was
	// decided; retry soon.
	Held struct{}
	// Poisoned means that the database refuses this item even when it is settled
	// alone, so a retry would be refused too.
	Poisoned struct{ Err error }
	// Failed means that the outcome is unknown; retry.
	Failed struct{ Err error }
)

func (Decided) result()             {}
func (DecidedBefore) result()       {}
func (Undecided) result()           {}
func (RefundDecided) result()       {}
func (RefundDecidedBefore) result() {}
func (Credited) result()            {}
func (CreditedBefore) result()      {}
func (Reversed) result()            {}
func (ReversedBefore) result()      {}
func (Refused) result()             {}
func (Held) result()                {}
func (Poisoned) result()            {}
func (Failed) result()              {}

// State is what a group knows. It is read after the group's bills were locked.
type State struct {
	Now       time.Time           // the database's clock
	Bills     map[int64]*Bill     // locked by this group
	Held      map[int64]bool      // bills that exist but are locked by another transaction
	Customers map[int64]*Customer // the users named by the items
	Charges   map[uuid.UUID]*Charge
	Payments  map[int64]*Payment
	Reversals map[int64]*ReversalDecision   // by the provider's id
	Reversed  map[int64]money.Amount        // the greatest total of a payment's reversals
	Refunds   map[uuid.UUID]*RefundDecision // by the refund's id
	Refunded  map[uuid.UUID]money.Amount    // of a purchase, in sum
	Owing     map[int64]bool                // bills on which a reversal has left a shortfall
	NextID    func() int64                  // ids for transactions, ascending
}

// Changes are what a group writes.
type Changes struct {
	Balances     map[int64]*Bill
	Transactions []Transaction // in ascending order of id
	Charges      []Charge
	Reversals    []ReversalDecision
	Refunds      []RefundDecision
}

// Decide decides the items in order of arrival and returns one result for
// each. An item sees the effects of the items before it, so an id that occurs
// twice gets one decision and two results.
func Decide(s State, items []Item) ([]Result, Changes) {
	g := &decider{State: s, changes: Changes{Balances: map[int64]*Bill{}}}
	results := make([]Result, len(items))
	for i, item := range items {
		switch item := item.(type) {
		case *Payment:
			results[i] = g.payment(item)
		case *Reversal:
			results[i] = g.reversal(item)
		case *ChargeRequest:
			results[i] = g.charge(item)
		case *RefundRequest:
			results[i] = g.refund(item)
		default:
			results[i] = Failed{fmt.Errorf("decide: unknown item %T", item)}
		}
	}
	return results, g.changes
}

type decider struct {
	State
	changes Changes
}

func (g *decider) payment(p *Payment) Result {
	bill, owner := g.Bills[p.BillID], g.Customers[p.UserID]
	if g.Held[p.BillID] {
		return Held{}
	}
	known := g.Payments[p.ID]
	if known == nil && owner != nil && bill == nil && p.MayCreateBill() {
		// The group did not create this bill. Either the user was not known yet when
		// it created bills, or an earlier item has the same payment id: only the
		// first item with an id gets a bill.
		return Held{}
	}
	repeat, refusal := decidePayment(*p, known, owner, bill)
	switch {
	case refusal != nil:
		return Refused{refusal}
	case repeat:
		return CreditedBefore{}
	}
	id := p.ID
	g.write(bill, Transaction{Amount: p.Amount, Type: TypePayment, PaymentID: &id})
	g.Payments[p.ID] = p
	return Credited{p}
}

func (g *decider) reversal(r *Reversal) Result {
	var bill *Bill
	var balance money.Amount
	if r.Payment != nil {
		if g.Held[r.Payment.BillID] {
			return Held{}
		}
		if bill = g.Bills[r.Payment.BillID]; bill == nil {
			return Failed{fmt.Errorf("decide reversal %d: bill %d of payment %d does not exist", r.ID, r.Payment.BillID, r.PaymentID)}
		}
		balance = bill.Balance
	}
	d, repeat, refusal := decideReversal(*r, g.Reversals[r.ID], g.Reversed[r.PaymentID], balance)
	switch {
	case refusal != nil:
		return Refused{refusal}
	case repeat:
		return ReversedBefore{d}
	}
	d.ID, d.DecidedAt = g.NextID(), g.Now
	if d.Debited > 0 {
		g.write(bill, Transaction{ID: d.ID, Amount: -d.Debited, Type: TypeReversal, ReversalID: &d.ReversalID})
	}
	g.Reversals[r.ID] = d
	g.Reversed[r.PaymentID] = max(g.Reversed[r.PaymentID], d.Total)
	if d.Shortfall > 0 {
		g.Owing[d.BillID] = true
	}
	g.changes.Reversals = append(g.changes.Reversals, *d)
	return Reversed{d}
}

func (g *decider) charge(r *ChargeRequest) Result {
	if g.Held[r.BillID] {
		return Held{}
	}
	if known := g.Charges[r.PurchaseID]; known != nil {
		return DecidedBefore{known}
	}
	if r.Unreadable && g.Now.Before(r.ExpiresAt) {
		return Undecided{}
	}
	bill := g.Bills[r.BillID]
	c := decideCharge(*r, bill, g.Customers[r.UserID], g.Now)
	if c.Outcome == Settled {
		purchase := r.PurchaseID
		id := g.write(bill, Transaction{Amount: -r.Amount, Type: TypePurchase, PurchaseID: &purchase})
		c.TransactionID = &id
	}
	g.Charges[r.PurchaseID] = &c
	g.changes.Charges = append(g.changes.Charges, c)
	return Decided{&c}
}

func (g *decider) refund(r *RefundRequest) Result {
	if g.Held[r.BillID] {
		return Held{}
	}
	if known := g.Refunds[r.RefundID]; known != nil {
		return RefundDecidedBefore{known}
	}
	bill := g.Bills[r.BillID]
	d := decideRefund(*r, g.Charges[r.PurchaseID], bill, g.Refunded[r.PurchaseID], g.Owing[r.BillID])
	d.ID, d.DecidedAt = g.NextID(), g.Now
	if d.Outcome == Refunded {
		id := r.RefundID
		g.write(bill, Transaction{ID: d.ID, Amount: r.Amount, Type: TypeRefund, RefundID: &id})
		g.Refunded[r.PurchaseID] = d.RefundedAfter
	}
	g.Refunds[r.RefundID] = &d
	g.changes.Refunds = append(g.changes.Refunds, d)
	return RefundDecided{&d}
}

// write appends a transaction to the ledger, updates the bill's balance, and
// returns the transaction's id, a new one unless t has one.
func (g *decider) write(bill *Bill, t Transaction) int64 {
	bill.Balance += t.Amount
	if t.ID == 0 {
		t.ID = g.NextID()
	}
	t.BillID, t.UserID, t.BalanceAfter = bill.ID, bill.UserID, bill.Balance
	g.changes.Balances[bill.ID] = bill
	g.changes.Transactions = append(g.changes.Transactions, t)
	return t.ID
}
