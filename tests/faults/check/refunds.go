package check

import (
	"fmt"
	"time"

	"lavka/tests/faults/history"
)

// refund is everything known about one refund.
type refund struct {
	id      string
	rows    []history.RefundRow // must be at most one
	decided []history.Credit    // the same
	credits []history.Transaction
	calls   []*history.Refund // with its purchase and key, or whose answers name it
}

// refundKey is an Idempotency-Key of a purchase.
type refundKey struct{ purchase, key string }

func refundName(id string) string { return "refund " + id }

func (f *facts) gatherRefunds() {
	named := func(id string) *refund {
		r := entry(f.refunds, id)
		r.id = id
		return r
	}
	keys := map[refundKey]string{}
	for _, row := range f.books.Refunds {
		r := named(row.ID)
		r.rows = append(r.rows, row)
		keys[refundKey{row.PurchaseID, row.Key}] = row.ID
	}
	for _, c := range f.books.Credits {
		r := named(c.RefundID)
		r.decided = append(r.decided, c)
	}
	for _, t := range f.books.Transactions {
		if t.RefundID != nil {
			r := named(*t.RefundID)
			r.credits = append(r.credits, t)
		}
	}
	for i := range f.history.Refunds {
		c := &f.history.Refunds[i]
		id := c.RefundID
		if id == "" {
			id = keys[refundKey{c.PurchaseID, c.Key}]
		}
		if id != "" {
			r := named(id)
			r.calls = append(r.calls, c)
		}
	}
}

// bounds returns the bounds of when the credit was written.
func (r *refund) bounds() (from, to time.Duration) {
	from, to = forever, forever
	for _, c := range r.calls {
		from = min(from, c.Start)
		if c.Status == 201 {
			to = min(to, c.End)
		}
	}
	if from == forever {
		from = 0
	}
	return from, to
}

// refundsKept checks invariant (k). Every refund is in catalog once, completed or
// declined, with the key and the purchase that a client requested, and with the
// purchase's user and bill. Completed: billing has decided to refund it, and the
// ledger has one credit, with catalog's user, bill, amount and transaction id.
// Declined: billing has declined it for the same reason, and the ledger has nothing.
// Each answer that names a refund has its state, or it was pending then; all answers to
// a key name one refund. What was credited of a purchase is together at most what was
// charged for it.
func (j *judge) refundsKept() {
	refunded := map[string]int64{}
	for id, r := range sorted(j.refunds) {
		if wrong := j.unlikeRefund(r); wrong != "" {
			j.report("k", refundName(id), "%s: %s", refundName(id), wrong)
		}
		for _, c := range r.credits {
			if len(r.decided) == 1 {
				refunded[r.decided[0].PurchaseID] += c.Amount
			}
		}
	}
	for id, sum := range sortedSums(refunded) {
		charged := int64(0)
		if p := j.purchases[id]; p != nil {
			for _, c := range p.charges {
				if c.Outcome == "settled" {
					charged = c.Amount
				}
			}
		}
		if sum > charged {
			j.report("k", "refunds of "+purchaseName(id), "%d were charged for %s, and %d were refunded", charged, purchaseName(id), sum)
		}
	}
	first := map[refundKey]*history.Refund{}
	for i := range j.history.Refunds {
		c := &j.history.Refunds[i]
		if c.RefundID == "" {
			continue
		}
		key := refundKey{c.PurchaseID, c.Key}
		if before := first[key]; before == nil {
			first[key] = c
		} else if before.RefundID != c.RefundID {
			j.report("k", refundName(c.RefundID), "%s was answered %d, but %s was answered %d: two refunds for one key", wished(before), before.Status, wished(c), c.Status)
		}
	}
}

func (j *judge) unlikeRefund(r *refund) string {
	if len(r.rows) != 1 {
		return fmt.Sprintf("it is in catalog %d times, and billing has %d decisions and %d transactions for it", len(r.rows), len(r.decided), len(r.credits))
	}
	row := r.rows[0]
	if len(r.calls) == 0 {
		return "no client requested it"
	}
	for _, c := range r.calls {
		switch {
		case c.PurchaseID != row.PurchaseID || c.Key != row.Key || c.Amount != 0 && c.Amount != row.Amount || c.Restock != row.Restock:
			return fmt.Sprintf("it was the answer to %s, and catalog has %s", wished(c), refundText(row))
		case c.Status == 201 && (row.Status != "completed" || c.Refunded != row.Amount || !same(c.TransactionID, row.TransactionID)):
			return fmt.Sprintf("%s was answered 201 with %d and transaction %s, and catalog has %s", wished(c), c.Refunded, number(c.TransactionID), refundText(row))
		case c.State == "declined" && (row.Status != "declined" || c.Code != row.Reason):
			return fmt.Sprintf("%s was answered %d %s, and catalog has %s", wished(c), c.Status, c.Code, refundText(row))
		}
	}
	if p := j.purchases[row.PurchaseID]; p == nil || len(p.rows) != 1 || p.rows[0].Status != "completed" || p.rows[0].UserID != row.UserID || p.rows[0].BillID != row.BillID {
		return "catalog has " + refundText(row) + ", which is not like the purchase"
	}
	if len(r.decided) != 1 {
		return fmt.Sprintf("catalog has %s, and billing has %d decisions", refundText(row), len(r.decided))
	}
	d := r.decided[0]
	if d.PurchaseID != row.PurchaseID || d.UserID != row.UserID || d.BillID != row.BillID || d.Amount != row.Amount {
		return fmt.Sprintf("catalog has %s, and billing has %+v", refundText(row), d)
	}
	switch row.Status {
	case "completed":
		if d.Outcome != "refunded" || value(row.TransactionID) != d.ID {
			return fmt.Sprintf("catalog has %s, and billing has %+v", refundText(row), d)
		}
		if len(r.credits) != 1 {
			return fmt.Sprintf("catalog has %s, and the ledger has %d credits", refundText(row), len(r.credits))
		}
		if t := r.credits[0]; t.ID != d.ID || t.BillID != row.BillID || t.UserID != row.UserID || t.Amount != row.Amount {
			return fmt.Sprintf("catalog has %s, and the ledger has %s", refundText(row), line(t))
		}
	case "declined":
		if d.Outcome != row.Reason || len(r.credits) > 0 {
			return fmt.Sprintf("catalog has %s, billing has %+v, and the ledger has %d credits", refundText(row), d, len(r.credits))
		}
	default:
		return "it is still " + refundText(row)
	}
	return ""
}

func wished(c *history.Refund) string {
	return fmt.Sprintf("the refund %s (%s, key %q, amount %d, restock %d)", when(c.Call), purchaseName(c.PurchaseID), c.Key, c.Amount, c.Restock)
}

func refundText(r history.RefundRow) string {
	return fmt.Sprintf("%s %s of %s (user %d, bill %d, key %q, amount %d, transaction %s, reason %q)",
		r.Status, refundName(r.ID), purchaseName(r.PurchaseID), r.UserID, r.BillID, r.Key, r.Amount, number(r.TransactionID), r.Reason)
}
