package check

import (
	"fmt"

	"lavka/tests/faults/history"
)

// declinesKept checks the first half of invariant (b). Each answer that declines
// (402 insufficient_funds, 404 bill_not_found, 403 user_disabled, 409
// purchase_expired) names a purchase that catalog has once, as requested, declined
// for that reason; for insufficient funds, with the price and the balance of the
// answer. Billing has decided the same, once, and the ledger has nothing for it. A
// purchase that a GET showed as declined is charged nowhere either. A refused
// payment is not credited unless another call with the same content may have been;
// a payment refused as transaction_conflict is never credited, and then another
// payment with its id was.
//
// The second half, refusals that leave no row, is part of nothingUnasked.
func (j *judge) declinesKept() {
	for i := range j.history.Buys {
		b := &j.history.Buys[i]
		if answerTo(b) != declined {
			continue
		}
		if wrong := j.purchases[b.PurchaseID].unlikeDeclined(b); wrong != "" {
			j.report("b", purchaseName(b.PurchaseID), "%s was declined (%s, %s), but %s", asked(b), b.Code, purchaseName(b.PurchaseID), wrong)
		}
	}
	for i := range j.history.Looks {
		l := &j.history.Looks[i]
		p := j.purchases[l.PurchaseID]
		if l.State == "declined" && p.charged() {
			j.report("b", purchaseName(p.id), "a GET %s showed %s as declined, but it is charged", when(l.Call), purchaseName(p.id))
		}
	}
	for id, p := range sorted(j.payments) {
		for _, call := range p.calls {
			if wrong := p.unlikeRefused(call); wrong != "" {
				j.report("b", paymentName(id), "%s was refused (%d %s), but %s", paid(call), call.Status, call.Code, wrong)
			}
		}
	}
}

func (p *purchase) unlikeDeclined(b *history.Buy) string {
	if wrong := p.unlike(b); wrong != "" {
		return wrong
	}
	row, reason := p.rows[0], declines[problem{b.Status, b.Code}]
	if row.Status != "declined" || row.Reason != reason {
		return "catalog has it as " + rowText(row)
	}
	if reason == "insufficient_funds" && (b.Price == nil || !same(b.Balance, row.Balance)) {
		return fmt.Sprintf("the answer has price %s and balance %s, and catalog has %s", number(b.Price), number(b.Balance), rowText(row))
	}
	return p.unlikeUnsettled()
}

// charged reports whether billing charged anything for the purchase.
func (p *purchase) charged() bool {
	for _, c := range p.charges {
		if c.Outcome == "settled" {
			return true
		}
	}
	return len(p.debits) > 0
}

// unlikeUnsettled returns how billing's tables differ from catalog's declined row,
// or "".
func (p *purchase) unlikeUnsettled() string {
	row := p.rows[0]
	if row.TransactionID != nil || (row.Balance != nil) != (row.Reason == "insufficient_funds") {
		return "catalog has " + rowText(row)
	}
	if len(p.charges) != 1 || len(p.debits) != 0 {
		return fmt.Sprintf("billing has %d charges and %d transactions for it", len(p.charges), len(p.debits))
	}
	c := p.charges[0]
	unreadable := c.Outcome == "expired" && c.UserID == 0
	alike := unreadable || c.UserID == row.UserID && c.BillID == row.BillID && c.Amount == row.Amount()
	if c.Outcome != row.Reason || c.TransactionID != nil || !same(c.Balance, row.Balance) || !alike {
		return fmt.Sprintf("catalog has %s and billing has %s", rowText(row), chargeText(c))
	}
	return ""
}

// unlikeRefused returns how the ledger contradicts the refusal of a payment, or
// "".
func (p *payment) unlikeRefused(call *history.Pay) string {
	if answerToPay(call) != refused {
		return ""
	}
	conflict := call.Code == "transaction_conflict"
	if conflict && len(p.credits) == 0 {
		return "the ledger has no payment that it conflicts with"
	}
	for _, t := range p.credits {
		if creditOfLine(t) == creditOf(call) && (conflict || len(p.causes(t)) == 0) {
			return "the ledger has " + line(t)
		}
	}
	return ""
}
