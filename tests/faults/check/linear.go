package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"lavka/tests/faults/history"
)

// linearizable checks invariant (g). For each bill there is one order of all its
// events in which every read returns the sum of the lines before it, and in which
// no event precedes another that had ended before it began.
//
// A line of the ledger was written between the start of the first call that may
// have caused it and the end of the first answer that shows it (without a limit if
// none does). A decline for insufficient funds is a read of the balance that it
// names, which must be lower than the price, with the same bounds. A read of the
// bill reads its balance; a page reads the position in the ledger of its newest
// line.
//
// The lines must keep the order of their ids, since balance_after follows that
// order; no other order is valid. That makes the check exact and cheap: see walk.
// If walk finds an order, porcupine must confirm it: see search. If it does not do
// so in time, that is reported as "g?".
//
// A bill that violates (e) is skipped.
func (j *judge) linearizable() {
	for id, b := range sorted(j.bills) {
		if j.seen[billName(id)] {
			continue
		}
		s := j.story(b)
		order, wrong := s.walk()
		if wrong != "" {
			j.report("g", billName(id), "bill %d: %s", id, wrong)
			continue
		}
		switch narrow(order); s.search(order, j.LinearTimeout) {
		case illegal:
			j.report("g", billName(id), "bill %d: porcupine finds no order of its %d lines and %d reads", id, len(s.lines), len(s.reads))
		case undecided:
			j.report("g?", billName(id), "bill %d: porcupine found no order of its %d lines and %d reads within %s", id, len(s.lines), len(s.reads), j.LinearTimeout)
		}
	}
}

// story is what happened to one bill.
type story struct {
	lines []event // of the ledger, in its order
	sums  []int64 // of the first 0, 1, 2 … lines
	reads []event // by their beginnings
	wrong string
}

// event happened at one moment, not before from and not after to. It is a line
// of the ledger, or an observation of the balance or of the ledger's length.
type event struct {
	from, to time.Duration
	line     int // 1 for the first one; 0: a read
	balance  int64
	length   int // lines that a read saw; anyLength when it saw only the balance
	what     func() string
}

const anyLength = -1

func (f *facts) story(b *bill) *story {
	s := &story{sums: []int64{0}}
	lengths := map[int64]int{}
	for i, t := range b.lines {
		lengths[t.ID] = i + 1
		from, to := f.written(t)
		s.lines = append(s.lines, event{from: from, to: to, line: i + 1, what: func() string { return line(t) }})
		s.sums = append(s.sums, s.sums[i]+t.Amount)
	}
	for _, r := range b.reads {
		s.reads = append(s.reads, event{
			from: r.Start, to: r.End, balance: r.Balance, length: anyLength, what: func() string { return "the read " + when(r.Call) },
		})
	}
	for _, p := range b.pages {
		length := 0
		if len(p.Lines) > 0 {
			length = lengths[p.Lines[0].ID]
		}
		s.reads = append(s.reads, event{
			from: p.Start, to: p.End, balance: s.sums[length], length: length, what: func() string { return "the page read " + when(p.Call) },
		})
	}
	for _, p := range b.declined {
		c := p.charges[0]
		if c.Balance == nil {
			continue // reported by (b) or (c)
		}
		if *c.Balance >= c.Amount {
			s.wrong = fmt.Sprintf("%s was declined for insufficient funds although the balance covers the price: %s", purchaseName(p.id), chargeText(c))
			continue
		}
		s.reads = append(s.reads, event{
			from: p.began(), to: p.toldBy(), balance: *c.Balance, length: anyLength, what: func() string { return "the decline of " + purchaseName(p.id) },
		})
	}
	slices.SortStableFunc(s.reads, func(a, b event) int { return cmp.Compare(a.from, b.from) })
	return s
}

// written returns the bounds of when a line of the ledger was written.
func (f *facts) written(t history.Transaction) (from, to time.Duration) {
	if t.PurchaseID != nil {
		p := f.purchases[*t.PurchaseID]
		return p.began(), p.toldBy()
	}
	if t.RefundID != nil {
		return f.refunds[*t.RefundID].bounds()
	}
	if t.ReversalID != nil {
		return f.reversals[*t.ReversalID].bounds()
	}
	if t.PaymentID == nil {
		return 0, forever // reported by (d), as is a payment that no client sent
	}
	from, to = forever, forever
	for _, call := range f.payments[*t.PaymentID].causes(t) {
		from = min(from, call.Start)
		if answerToPay(call) == completed {
			to = min(to, call.End)
		}
	}
	if from == forever {
		from = 0
	}
	return from, to
}
