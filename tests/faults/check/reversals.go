package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"lavka/tests/faults/history"
)

// reversal is everything known about one reversal id.
type reversal struct {
	calls   []*history.Reversal
	decided []history.Takeback // must be at most one
	debits  []history.Transaction
}

func reversalName(id int64) string { return fmt.Sprintf("reversal %d", id) }

func (f *facts) gatherReversals() {
	for _, d := range f.books.Takebacks {
		r := entry(f.reversals, d.ReversalID)
		r.decided = append(r.decided, d)
	}
	for _, t := range f.books.Transactions {
		if t.ReversalID != nil {
			r := entry(f.reversals, *t.ReversalID)
			r.debits = append(r.debits, t)
		}
	}
	for i := range f.history.Reversals {
		r := entry(f.reversals, f.history.Reversals[i].ReversalID)
		r.calls = append(r.calls, &f.history.Reversals[i])
	}
}

// bounds returns the bounds of when the debit was written.
func (r *reversal) bounds() (from, to time.Duration) {
	from, to = forever, forever
	for _, c := range r.calls {
		from = min(from, c.Start)
		if c.Status == 200 {
			to = min(to, c.End)
		}
	}
	if from == forever {
		from = 0
	}
	return from, to
}

// reversalsKept checks invariant (l). A reversal that was answered 200 is decided once,
// with the payment, the total, the debit and the shortfall of the answer, and a client
// sent each. What it debits is in the ledger once, on the payment's bill. What was due
// of all reversals of a payment together is their greatest total, and never more than
// was credited.
func (j *judge) reversalsKept() {
	due, greatest := map[int64]int64{}, map[int64]int64{}
	for id, r := range sorted(j.reversals) {
		if wrong := j.unlikeReversal(r); wrong != "" {
			j.report("l", reversalName(id), "%s: %s", reversalName(id), wrong)
		}
		for _, d := range r.decided {
			due[d.PaymentID] += d.Due
			greatest[d.PaymentID] = max(greatest[d.PaymentID], d.Total)
		}
	}
	for id, sum := range sortedSums(due) {
		credited := int64(0)
		for _, c := range entry(j.payments, id).credits {
			credited += c.Amount
		}
		if sum != greatest[id] || sum > credited {
			j.report("l", "reversals of "+paymentName(id), "%s: %d were credited, the greatest total of its reversals is %d, and %d were due", paymentName(id), credited, greatest[id], sum)
		}
	}
}

func (j *judge) unlikeReversal(r *reversal) string {
	for _, c := range r.calls {
		if c.Status == 200 && len(r.decided) != 1 {
			return fmt.Sprintf("it was answered 200 %s, and billing has %d decisions", when(c.Call), len(r.decided))
		}
	}
	if len(r.decided) == 0 {
		if len(r.debits) > 0 {
			return "the ledger has " + line(r.debits[0]) + ", and billing no decision"
		}
		return ""
	}
	d := r.decided[0]
	if len(r.calls) == 0 {
		return "no client sent it"
	}
	for _, c := range r.calls {
		if c.PaymentID != d.PaymentID || c.Total != d.Total || c.Status == 200 && (c.Debited != d.Debited || c.Shortfall != d.Shortfall) {
			return fmt.Sprintf("it was answered %d %s, with payment %d, total %d, debited %d, shortfall %d; billing has %+v", c.Status, when(c.Call), c.PaymentID, c.Total, c.Debited, c.Shortfall, d)
		}
	}
	switch {
	case d.Debited+d.Shortfall != d.Due || d.Debited < 0 || d.Shortfall < 0:
		return fmt.Sprintf("billing has %+v", d)
	case d.Debited == 0 && len(r.debits) == 0:
		return ""
	case len(r.debits) != 1 || r.debits[0].Amount != -d.Debited || r.debits[0].BillID != d.BillID || r.debits[0].ID != d.ID:
		return fmt.Sprintf("billing has %+v, and the ledger has %d debits", d, len(r.debits))
	}
	return ""
}

// sortedSums iterates over sums in the order of their keys.
func sortedSums[K cmp.Ordered](m map[K]int64) func(yield func(K, int64) bool) {
	return func(yield func(K, int64) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
