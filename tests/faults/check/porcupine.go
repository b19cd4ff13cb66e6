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

// narrow gives every event the bounds that its place in the order leaves it.
// They lie within those that were observed, so an order that is found for them
// is one for what was observed, whoever has proposed it.
//
// A search without it would not end: porcupine writes lines as soon as it may,
// and what was never answered may be written at any time.
func narrow(order []event) {
	notBefore, notAfter := bounds(order)
	for i := range order {
		order[i].from, order[i].to = notBefore[i], notAfter[i]
	}
}

// search has porcupine look for an order of the events; of those that begin at
// the same moment, it tries the ones that are given first. Its model is a ledger
// that grows line by line; the state is its length. A line can be written when
// those before it are there. A read is right where the lines make up its
// balance, a page where they are as many as it shows.
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
	// What ends when something else begins is at the same time as that.
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
