package check

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"
)

// walk goes through the ledger and gives an order of the whole story, or says
// where it breaks.
//
// It puts every read at the earliest place it can have: not before a line that
// was told of before the read began, nor before the place of a read that had
// ended when this one began, and where the balance is right. An earlier place
// never takes one from a later read. So there is an order if and only if no
// place comes too late: after a line that was asked for only when the read had
// ended.
func (s *story) walk() (order []event, wrong string) {
	if s.wrong != "" {
		return nil, s.wrong
	}
	notBefore, notAfter := bounds(s.lines)
	for i, l := range s.lines {
		if notBefore[i] > l.to {
			return nil, fmt.Sprintf("%s was known by %s, before one that precedes it in the ledger was asked for, at %s", l.what(), l.to, notBefore[i])
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
			return nil, fmt.Sprintf("%s saw %d, which is right at no moment between %s and %s: then %d to %d transactions were there",
				r.what(), r.balance, r.from, r.to, least, most)
		}
		at[i] = place
	}
	return s.inOrder(at), ""
}

// place is the first place from least on where the read is right.
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

// inOrder has each read follow as many lines as at says.
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

// bounds are when each of some events in order happened: not before any one
// that precedes it, not after any one that follows.
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
