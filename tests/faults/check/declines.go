package check

import (
	"fmt"

	"lavka/tests/faults/history"
)

// declinesKept is the first half of invariant (b). Each answer that declines
// (402 insufficient_funds, 404 bill_not_found, 403 user_disabled, 409
// purchase_expired) names a purchase that catalog has once, as it was asked for,
// declined for that reason; for want of money, with the price and the balance of
// the answer. Billing has decided the same, once, and the ledger has nothing
// for it. What a look showed as declined is charged nowhere either. A payment
// that was refused is not credited unless another call of the same content may
// have been; one that was refused as transaction_conflict never is, and then
// another one was.
//
// The other half, refusals that leave no row, is a part of nothingUnasked.
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
			j.report("b", purchaseName(p.id), "a look %s showed %s declined, but it is charged", when(l.Call), purchaseName(p.id))
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
		return fmt.Sprintf("it said price %s and balance %s, and catalog has %s", number(b.Price), number(b.Balance), rowText(row))
	}
	return p.unlikeUnsettled()
}

// charged says whether billing took anything for the purchase.
func (p *purchase) charged() bool {
	for _, c := range p.charges {
		if c.Outcome == "settled" {
			return true
		}
	}
	return len(p.debits) > 0
}

// unlikeUnsettled says why billing's books don't fit catalog's declined row.
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
	alike := unreadable || c.UserID == row.UserID && c.BillID == row.BillID && c.Amount == row.Price
	if c.Outcome != row.Reason || c.TransactionID != nil || !same(c.Balance, row.Balance) || !alike {
		return fmt.Sprintf("catalog has %s and billing %s", rowText(row), chargeText(c))
	}
	return ""
}

// unlikeRefused says why the ledger does not fit the refusal of a payment.
func (p *payment) unlikeRefused(call *history.Pay) string {
	if answerToPay(call) != refused {
		return ""
	}
	conflict := call.Code == "transaction_conflict"
	if conflict && len(p.credits) == 0 {
		return "the ledger has nothing that it could conflict with"
	}
	for _, t := range p.credits {
		if creditOfLine(t) == creditOf(call) && (conflict || len(p.causes(t)) == 0) {
			return "the ledger has " + line(t)
		}
	}
	return ""
}
