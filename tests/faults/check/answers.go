package check

import (
	"fmt"
	"time"

	"lavka/tests/faults/history"
)

// answer is what the response to a purchase or a payment promises.
type answer int

const (
	unknown   answer = iota // it may have taken effect, or may still do so
	completed               // 201; 200 of a payment
	pending                 // 202
	declined                // finally, and a row records it
	refused                 // this call has no effect and never will
)

// declines are the problems that decline a purchase, with their reasons.
var declines = map[problem]string{
	{402, "insufficient_funds"}: "insufficient_funds",
	{404, "bill_not_found"}:     "bill_not_found",
	{403, "user_disabled"}:      "buyer_disabled",
	{409, "purchase_expired"}:   "expired",
}

type problem struct {
	status int
	code   string
}

// refusals are the 5xx problems that promise that the request had no effect
// (docs/errors.md).
var (
	buyRefusals = map[problem]bool{{503, "overloaded"}: true, {503, "unavailable"}: true, {503, "starting"}: true, {503, "service_unavailable"}: true, {503, "not_open_yet"}: true}
	payRefusals = map[problem]bool{{503, "overloaded"}: true, {503, "bill_busy"}: true, {503, "service_unavailable"}: true}
)

func answerTo(b *history.Buy) answer {
	p := problem{b.Status, b.Code}
	_, isDecline := declines[p]
	switch {
	case b.Status == 201:
		return completed
	case b.Status == 202:
		return pending
	case isDecline:
		return declined
	case buyRefusals[p], b.Status >= 400 && b.Status < 500:
		return refused
	}
	return unknown
}

func answerToPay(p *history.Pay) answer {
	switch {
	case p.Status == 200:
		return completed
	case payRefusals[problem{p.Status, p.Code}], p.Status >= 400 && p.Status < 500:
		return refused
	}
	return unknown
}

// answersKept checks invariant (a). Each answer 201 gives id, price and transaction
// of a purchase; catalog has that purchase once, as requested, completed with the
// same numbers; billing has settled one charge for it, on the same
// bill of the same user, over the same amount; and the ledger takes that amount
// once, under the transaction id of the answer. Two calls without a key are two
// purchases. For each payment that was answered 200 the ledger has one credit,
// of the same user, bill and amount.
func (j *judge) answersKept() {
	for i := range j.history.Buys {
		b := &j.history.Buys[i]
		if answerTo(b) != completed {
			continue
		}
		if wrong := j.purchases[b.PurchaseID].unlikeCompleted(b); wrong != "" {
			j.report("a", purchaseName(b.PurchaseID), "%s was answered 201 with %s, but %s", asked(b), purchaseName(b.PurchaseID), wrong)
		}
	}
	for i := range j.history.Pays {
		p := &j.history.Pays[i]
		if answerToPay(p) != completed {
			continue
		}
		name, credits := paymentName(p.PaymentID), j.payments[p.PaymentID].credits
		switch {
		case len(credits) != 1:
			j.report("a", name, "%s was answered 200, but is in the ledger %d times", paid(p), len(credits))
		case creditOfLine(credits[0]) != creditOf(p):
			j.report("a", name, "%s was answered 200, but the ledger has it as %s", paid(p), line(credits[0]))
		}
	}
}

func (p *purchase) unlikeCompleted(b *history.Buy) string {
	if b.Price == nil || b.TransactionID == nil || b.State != "completed" {
		return fmt.Sprintf("the answer has price %s, transaction %s and state %q", number(b.Price), number(b.TransactionID), b.State)
	}
	if b.Amount != nil && *b.Amount != *b.Price*max(1, b.Quantity) {
		return fmt.Sprintf("the answer has amount %d for %d at %d", *b.Amount, max(1, b.Quantity), *b.Price)
	}
	if wrong := p.unlike(b); wrong != "" {
		return wrong
	}
	row := p.rows[0]
	if row.Status != "completed" || !same(row.TransactionID, b.TransactionID) {
		return fmt.Sprintf("the answer has transaction %d, and catalog has %s", *b.TransactionID, rowText(row))
	}
	return p.unlikeSettled()
}

// unlike returns why a purchase is not the one that a call requested, or "".
func (p *purchase) unlike(b *history.Buy) string {
	if b.PurchaseID == "" {
		return "the answer names no purchase"
	}
	if len(p.rows) != 1 {
		return fmt.Sprintf("it is in catalog %d times", len(p.rows))
	}
	if row := p.rows[0]; contentOfRow(row) != contentOf(b) || row.Key != b.Key {
		return "catalog has it as " + rowText(row)
	} else if b.Price != nil && *b.Price != row.Price {
		return fmt.Sprintf("the answer has price %d, and catalog has %s", *b.Price, rowText(row))
	}
	for _, other := range p.named {
		if other != b && b.Key == "" {
			return "it was also the answer to " + asked(other)
		}
	}
	return ""
}

// unlikeSettled returns how billing's tables differ from catalog's completed row,
// or "".
func (p *purchase) unlikeSettled() string {
	row := p.rows[0]
	if row.TransactionID == nil || row.Reason != "" {
		return "catalog has " + rowText(row)
	}
	if len(p.charges) != 1 || len(p.debits) != 1 {
		return fmt.Sprintf("billing has %d charges and %d transactions for it", len(p.charges), len(p.debits))
	}
	c, t := p.charges[0], p.debits[0]
	if c.Outcome != "settled" || c.UserID != row.UserID || c.BillID != row.BillID || c.Amount != row.Amount() || !same(c.TransactionID, row.TransactionID) {
		return fmt.Sprintf("catalog has %s and billing has %s", rowText(row), chargeText(c))
	}
	if t.ID != *row.TransactionID || t.UserID != row.UserID || t.BillID != row.BillID || t.Amount != -row.Amount() {
		return fmt.Sprintf("catalog has %s and the ledger has %s", rowText(row), line(t))
	}
	if value(c.Balance) != t.After {
		return fmt.Sprintf("billing has %s and the ledger has %s", chargeText(c), line(t))
	}
	return ""
}

// The texts of violations.

func purchaseName(id string) string { return "purchase " + id }
func paymentName(id int64) string   { return fmt.Sprintf("payment %d", id) }
func billName(id int64) string      { return fmt.Sprintf("bill %d", id) }

func when(c history.Call) string {
	return fmt.Sprintf("from %s to %s by client %d", c.Start.Round(time.Microsecond), c.End.Round(time.Microsecond), c.Client)
}

func asked(b *history.Buy) string {
	return fmt.Sprintf("the order %s (user %d, product %d, bill %d, quantity %d, key %q, expected %s)", when(b.Call), b.UserID, b.ProductID, b.BillID, max(1, b.Quantity), b.Key, number(b.Expected))
}

func paid(p *history.Pay) string {
	return fmt.Sprintf("payment %d %s (user %d, bill %d, amount %d)", p.PaymentID, when(p.Call), p.UserID, p.BillID, p.Amount)
}

func line(t history.Transaction) string {
	source := "payment " + number(t.PaymentID)
	if t.PurchaseID != nil {
		source = purchaseName(*t.PurchaseID)
	}
	if t.RefundID != nil {
		source = refundName(*t.RefundID)
	}
	if t.ReversalID != nil {
		source = reversalName(*t.ReversalID)
	}
	return fmt.Sprintf("transaction %d (%s, user %d, bill %d, amount %d, balance after it %d)", t.ID, source, t.UserID, t.BillID, t.Amount, t.After)
}

func rowText(r history.Purchase) string {
	return fmt.Sprintf("%s %s (user %d, product %d, bill %d, quantity %d, key %q, expected %s, price %d, transaction %s, reason %q, balance %s)",
		r.Status, purchaseName(r.ID), r.UserID, r.ProductID, r.BillID, r.Units(), r.Key, number(r.Expected), r.Price, number(r.TransactionID), r.Reason, number(r.Balance))
}

func chargeText(c history.Charge) string {
	return fmt.Sprintf("the charge %s (user %d, bill %d, amount %d, balance %s, transaction %s)", c.Outcome, c.UserID, c.BillID, c.Amount, number(c.Balance), number(c.TransactionID))
}

func number(n *int64) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprint(*n)
}
