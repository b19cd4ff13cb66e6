package check

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"
)

// walk returns a valid order of all events of the story, or why there is none.
//
// It puts every read at its earliest possible place: after every line that a
// client knew of before the read began, not before the place of a read that had
// ended when this one began, and where the balance matches. An earlier place never
// takes one from a later read. So an order exists if and only if no read comes too
// late: after a line that was requested only when the read had ended.
func (s *story) walk() (order []event, wrong string) {
	if s.wrong != "" {
		return nil, s.wrong
	}
	notBefore, notAfter := bounds(s.lines)
	for i, l := range s.lines {
		if notBefore[i] > l.to {
			return nil, fmt.Sprintf("a client knew of %s by %s, before an earlier line of the ledger was requested, at %s", l.what(), l.to, notBefore[i])
		}
	}
	places := map[int64][]int{} // by the balance there
	for n, sum := range s.sums {
		places[sum] = append(places[sum], n)
	}
	byEnd := make([]int, len(s.reads))
	for i := range byEnd {
		byEnd[i] = i
	}
	slices.SortStableFunc(byEnd, func(a, b int) int { return cmp.Compare(s.reads[a].to, s.reads[b].to) })
	at := make([]int, len(s.reads))
	reached := 0 // the furthest place of the reads that have ended
	for i, r := range s.reads {
		for len(byEnd) > 0 && s.reads[byEnd[0]].to < r.from {
			reached = max(reached, at[byEnd[0]])
			byEnd = byEnd[1:]
		}
		least := max(reached, sort.Search(len(s.lines), func(n int) bool { return notAfter[n] >= r.from }))
		most := sort.Search(len(s.lines), func(n int) bool { return notBefore[n] > r.to })
		place, ok := r.place(least, places)
		if !ok || place > most || r.from > r.to {
			return nil, fmt.Sprintf("%s returned %d, which was never the balance between %s and %s, while the ledger had %d to %d transactions",
				r.what(), r.balance, r.from, r.to, least, most)
		}
		at[i] = place
	}
	return s.inOrder(at), ""
}

// place returns the first place from least on where the read is valid.
func (e event) place(least int, places map[int64][]int) (place int, ok bool) {
	if e.length != anyLength {
		return e.length, e.length >= least
	}
	right := places[e.balance]
	i, _ := slices.BinarySearch(right, least)
	if i == len(right) {
		return 0, false
	}
	return right[i], true
}

// inOrder returns all events, with each read after the number of lines in at.
func (s *story) inOrder(at []int) []event {
	reads := make([][]event, len(s.lines)+1)
	for i, r := range s.reads {
		reads[at[i]] = append(reads[at[i]], r)
	}
	order := reads[0]
	for i, l := range s.lines {
		order = append(append(order, l), reads[i+1]...)
	}
	return order
}

// bounds returns the bounds of each event in an order: not before any event that
// precedes it, and not after any event that follows.
func bounds(order []event) (notBefore, notAfter []time.Duration) {
	n := len(order)
	notBefore, notAfter = make([]time.Duration, n), make([]time.Duration, n)
	first, last := time.Duration(0), forever
	for i, e := range order {
		first = max(first, e.from)
		notBefore[i] = first
	}
	for i := n - 1; i >= 0; i-- {
		last = min(last, order[i].to)
		notAfter[i] = last
	}
	return notBefore, notAfter
}
