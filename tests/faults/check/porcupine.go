package check

import (
	"cmp"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	illegal   = porcupine.Illegal
	undecided = porcupine.Unknown
)

// narrow reduces the bounds of every event to those that its place in the order
// leaves. They lie within the observed bounds, so any order found for them is also
// an order of the observed events.
//
// Without it the search would not end: porcupine writes lines as early as allowed,
// and a line without an answer may be written at any time.
func narrow(order []event) {
	notBefore, notAfter := bounds(order)
	for i := range order {
		order[i].from, order[i].to = notBefore[i], notAfter[i]
	}
}

// search makes porcupine search for an order of the events, for at most limit; of
// events that begin at the same moment, it tries them in the given order. Its model
// is a ledger that grows line by line; the state is its length. A line can be
// written once all lines before it are written. A read is valid if the lines sum
// up to its balance; a page, if the number of lines also matches.
func (s *story) search(events []event, limit time.Duration) porcupine.CheckResult {
	type side struct {
		at time.Duration
		porcupine.Event
	}
	var sides []side
	for i, e := range events {
		sides = append(sides,
			side{e.from, porcupine.Event{Kind: porcupine.CallEvent, Value: e, Id: i}},
			side{e.to, porcupine.Event{Kind: porcupine.ReturnEvent, Id: i}})
	}
	if len(sides) == 0 {
		return porcupine.Ok
	}
	// At the same time, starts come before ends, so that the two events overlap.
	last := map[porcupine.EventKind]int{porcupine.ReturnEvent: 1}
	slices.SortStableFunc(sides, func(a, b side) int { return cmp.Or(cmp.Compare(a.at, b.at), last[a.Kind]-last[b.Kind]) })
	history := make([]porcupine.Event, len(sides))
	for i, s := range sides {
		history[i] = s.Event
	}
	ledger := porcupine.Model{
		Init: func() any { return 0 },
		Step: func(state, input, _ any) (bool, any) {
			length, e := state.(int), input.(event)
			if e.line > 0 {
				return e.line == length+1, e.line
			}
			right := e.length == anyLength || e.length == length
			return right && s.sums[length] == e.balance, length
		},
		Hash: func(state any) uint64 { return uint64(state.(int)) },
	}
	return porcupine.CheckEventsTimeout(ledger, history, limit)
}
