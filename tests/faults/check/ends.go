package check

import (
	"fmt"
	"maps"
	"slices"

	"lavka/tests/faults/history"
)

// allEnds checks invariant (c). Every purchase in the books is in catalog once, and
// completed or declined. Completed: billing has settled one charge for it, and
// the ledger one transaction, with catalog's user, bill, price and transaction
// id. Declined: billing has declined it once, for the same reason, with the same
// balance, and the ledger has nothing. An answer 202 names such a purchase, as
// requested. What a GET showed (only the buyer can see it) has not changed since:
// a final state, its reason, the price, the transaction.
func (j *judge) allEnds() {
	for id, p := range sorted(j.purchases) {
		if wrong := p.openEnd(); wrong != "" {
			j.report("c", purchaseName(id), "%s: %s", purchaseName(id), wrong)
		}
	}
}

func (p *purchase) openEnd() string {
	for _, b := range p.named {
		if wrong := p.unlike(b); wrong != "" {
			return fmt.Sprintf("%s was answered %d, but %s", asked(b), b.Status, wrong)
		}
	}
	if wrong := p.disagreement(); wrong != "" {
		return wrong
	}
	for _, l := range p.looks {
		if wrong := p.unlikeLook(l); wrong != "" {
			return wrong
		}
	}
	return ""
}

// viewed checks the other half of that: an admin who lists the newest purchases of a user
// is shown no one else's, and all that were answered as bought before.
func (j *judge) viewed() {
	all := slices.Sorted(maps.Keys(j.purchases))
	for i := range j.history.Views {
		v := &j.history.Views[i]
		if v.Status != 200 {
			continue
		}
		name := fmt.Sprintf("the admin's list of the purchases of user %d, %s", v.UserID, when(v.Call))
		if v.Failure != "" {
			j.report("c", name, "%s: %s", name, v.Failure)
			continue
		}
		oldest, shown := "", map[string]bool{}
		for _, l := range v.Looks {
			if l.UserID != v.UserID {
				j.report("c", name, "%s, shows %s of user %d", name, purchaseName(l.PurchaseID), l.UserID)
			}
			oldest, shown[l.PurchaseID] = l.PurchaseID, true
		}
		for _, id := range all {
			if shown[id] || v.More && id < oldest { // ids rise with time (UUIDv7)
				continue
			}
			for _, b := range j.purchases[id].named {
				if b.UserID == v.UserID && answerTo(b) == completed && b.End < v.Start {
					j.report("c", name, "%s, does not show %s", name, asked(b))
				}
			}
		}
	}
}

// disagreement returns what catalog and billing disagree on, or "".
func (p *purchase) disagreement() string {
	switch len(p.rows) {
	case 0:
		if len(p.charges) > 0 {
			return "catalog does not have it, and billing has " + chargeText(p.charges[0])
		}
		return ""
	case 1:
	default:
		return fmt.Sprintf("it is in catalog %d times", len(p.rows))
	}
	switch p.rows[0].Status {
	case "completed":
		return p.unlikeSettled()
	case "declined":
		return p.unlikeUnsettled()
	default:
		return "it is still " + rowText(p.rows[0])
	}
}

func (p *purchase) unlikeLook(l *history.Look) string {
	if l.Status != 200 {
		return ""
	}
	if len(p.rows) == 0 {
		return fmt.Sprintf("a GET %s showed it, but catalog does not have it", when(l.Call))
	}
	row := p.rows[0]
	final := l.State == row.Status && l.Reason == row.Reason && same(l.TransactionID, row.TransactionID)
	if l.UserID != row.UserID || l.Price != row.Price || (l.State != "pending" && !final) {
		return fmt.Sprintf("a GET %s showed user %d: %s, price %d, transaction %s, reason %q; at the end catalog has %s",
			when(l.Call), l.UserID, l.State, l.Price, number(l.TransactionID), l.Reason, rowText(row))
	}
	return ""
}
