package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"lavka/tests/faults/history"
)

// findCauses finds the calls that may have made each purchase. With a key they
// are the calls with the same key and content that were not refused. Without a
// key it is the call whose answer names the purchase; if no answer does, it may be
// any call without a key, with the same content and an unknown outcome, as long as
// there is one for each such purchase.
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

// findLost matches the purchases that no answer names with the calls whose
// outcome is unknown.
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

// causes returns the calls that may have made a credit.
func (p *payment) causes(t history.Transaction) []*history.Pay {
	var calls []*history.Pay
	for _, call := range p.calls {
		if creditOf(call) == creditOfLine(t) && answerToPay(call) != refused {
			calls = append(calls, call)
		}
	}
	return calls
}

// began returns when the first call that may have made the purchase began, 0 if
// there is none.
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

// nothingUnasked checks invariant (d), and the second half of (b). Every credit in
// the ledger has a call of that payment id for the same user, bill and amount.
// Every purchase has a call that may have made it (see findCauses), and every
// debit has a purchase. A key has at most one purchase. Every line of the ledger
// is of one payment or of one purchase.
//
// If the only calls for it were refused with the promise that nothing was bought
// (404 product_not_found, 409 price_changed, 422, 503 overloaded and so on), (b)
// is violated instead.
func (j *judge) nothingUnasked() {
	for _, p := range j.unasked {
		letter, calls := "d", "no client requested it"
		row := p.rows[0]
		if b := j.refused[order{contentOfRow(row), row.Key}]; b != nil {
			letter, calls = "b", fmt.Sprintf("all requests for it were refused, for example %s (%d %s)", asked(b), b.Status, b.Code)
		}
		j.report(letter, purchaseName(p.id), "catalog has %s, and %s", rowText(row), calls)
	}
	for _, k := range j.sortedKeys() {
		for _, p := range j.keys[k].rows[min(1, len(j.keys[k].rows)):] {
			j.report("d", purchaseName(p.id), "catalog has %s, a second purchase with the same key", rowText(p.rows[0]))
		}
	}
	for _, t := range j.books.Transactions {
		switch {
		case !ofOneType(t):
			j.report("d", fmt.Sprintf("transaction %d", t.ID), "%s does not belong to one payment, purchase, refund or reversal", line(t))
		case t.RefundID != nil: // (k)
		case t.ReversalID != nil: // (l)
		case t.PurchaseID != nil:
			if p := j.purchases[*t.PurchaseID]; len(p.rows) == 0 {
				j.report("d", purchaseName(p.id), "%s belongs to a purchase that catalog does not have", line(t))
			}
		default:
			if p := j.payments[*t.PaymentID]; len(p.causes(t)) == 0 || len(p.credits) > 1 {
				j.report("d", paymentName(*t.PaymentID), "no client sent the payment of %s, or it was credited more than once: the ledger has %d credits with its id", line(t), len(p.credits))
			}
		}
	}
}

// ofOneType reports whether one id is set, and the amount has its sign.
func ofOneType(t history.Transaction) bool {
	ids := 0
	for _, set := range []bool{t.PaymentID != nil, t.PurchaseID != nil, t.RefundID != nil, t.ReversalID != nil} {
		if set {
			ids++
		}
	}
	return ids == 1 && t.Amount != 0 && (t.PaymentID != nil || t.RefundID != nil) == (t.Amount > 0)
}
