package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"lavka/tests/faults/history"
)

// findCauses finds the calls that may have made each purchase. With a key they
// are those of the same key and content that were not refused. Without one it is
// the call whose answer names the purchase; where no answer does, it may be any
// call without a key and of the same content whose client never learned what
// became of it, as long as there is one for each such purchase.
func (f *facts) findCauses() {
	strangers := map[content][]*purchase{}
	for _, p := range sorted(f.purchases) {
		if len(p.rows) == 0 {
			continue
		}
		row := p.rows[0]
		if row.Key != "" {
			for _, b := range f.keys[key{row.UserID, row.Key}].buys {
				if contentOf(b) == contentOfRow(row) && answerTo(b) != refused {
					p.causes = append(p.causes, b)
				}
			}
			if p.causes == nil {
				f.unasked = append(f.unasked, p)
			}
			continue
		}
		for _, b := range slices.Concat(p.named, p.doubted) {
			if b.Key == "" && (answerTo(b) != unknown || contentOf(b) == contentOfRow(row)) {
				p.causes = append(p.causes, b)
			}
		}
		if p.causes == nil {
			strangers[contentOfRow(row)] = append(strangers[contentOfRow(row)], p)
		}
	}
	f.findLost(strangers)
}

// findLost gives the purchases that no answer names to the calls of which
// nothing is known.
func (f *facts) findLost(strangers map[content][]*purchase) {
	lost := map[content][]*history.Buy{}
	for i := range f.history.Buys {
		b := &f.history.Buys[i]
		if b.Key == "" && b.PurchaseID == "" && answerTo(b) == unknown {
			lost[contentOf(b)] = append(lost[contentOf(b)], b)
		}
	}
	for c, purchases := range strangers {
		for i, p := range purchases {
			if i < len(lost[c]) {
				p.causes = lost[c]
			} else {
				f.unasked = append(f.unasked, p)
			}
		}
	}
	slices.SortFunc(f.unasked, func(p, q *purchase) int { return cmp.Compare(p.id, q.id) })
}

// causes are the calls that may have made a credit.
func (p *payment) causes(t history.Transaction) []*history.Pay {
	var calls []*history.Pay
	for _, call := range p.calls {
		if creditOf(call) == creditOfLine(t) && answerToPay(call) != refused {
			calls = append(calls, call)
		}
	}
	return calls
}

// began is when the first of some calls was begun, 0 when there are none.
func (p *purchase) began() time.Duration {
	if len(p.causes) == 0 {
		return 0
	}
	first := forever
	for _, b := range p.causes {
		first = min(first, b.Start)
	}
	return first
}

// nothingUnasked is invariant (d), and the other half of (b). Every credit in
// the ledger has a call of that payment id for the same user, bill and amount.
// Every purchase has a call that may have made it (see findCauses), and every
// debit has a purchase. A key has at most one purchase. Every line of the ledger
// is of one payment or of one purchase.
//
// Where the only calls for it were refused with the promise that nothing was
// bought (404 product_not_found, 409 price_changed, 422, 503 overloaded and so
// on), it is (b) that is violated.
func (j *judge) nothingUnasked() {
	for _, p := range j.unasked {
		letter, calls := "d", "no client has asked for it"
		row := p.rows[0]
		if b := j.refused[order{contentOfRow(row), row.Key}]; b != nil {
			letter, calls = "b", fmt.Sprintf("all who have asked for it were refused, as %s was (%d %s)", asked(b), b.Status, b.Code)
		}
		j.report(letter, purchaseName(p.id), "catalog has %s, and %s", rowText(row), calls)
	}
	for _, k := range j.sortedKeys() {
		for _, p := range j.keys[k].rows[min(1, len(j.keys[k].rows)):] {
			j.report("d", purchaseName(p.id), "catalog has %s, the second purchase under that key", rowText(p.rows[0]))
		}
	}
	for _, t := range j.books.Transactions {
		switch {
		case (t.PaymentID == nil) == (t.PurchaseID == nil), (t.PaymentID != nil) != (t.Amount > 0), t.Amount == 0:
			j.report("d", fmt.Sprintf("transaction %d", t.ID), "%s is neither a payment nor a purchase", line(t))
		case t.PurchaseID != nil:
			if p := j.purchases[*t.PurchaseID]; len(p.rows) == 0 {
				j.report("d", purchaseName(p.id), "%s is for no purchase", line(t))
			}
		default:
			if p := j.payments[*t.PaymentID]; len(p.causes(t)) == 0 || len(p.credits) > 1 {
				j.report("d", paymentName(*t.PaymentID), "no payment stands behind %s, one of %d credits under that id", line(t), len(p.credits))
			}
		}
	}
}
