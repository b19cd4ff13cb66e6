package check

import (
	"time"

	"lavka/tests/faults/history"
)

// pricesShown checks invariant (h). A purchase has the price that its buyer
// expected, if any, and in any case a price that the product had at some moment
// between the start of a call that may have made it and the end of the first
// answer that shows it (without a limit if none does). A refusal with
// price_changed names a price other than the expected one, which the product had
// at some moment during the call.
//
// A change of price takes effect within its call, or at any time after its start
// if it got no answer. A refused change has no effect.
func (j *judge) pricesShown() {
	tags := map[int64][]*history.Reprice{}
	for i := range j.history.Reprices {
		r := &j.history.Reprices[i]
		tags[r.ProductID] = append(tags[r.ProductID], r)
	}
	for id, p := range sorted(j.purchases) {
		if len(p.rows) == 0 {
			continue
		}
		row := p.rows[0]
		switch {
		case row.Expected != nil && *row.Expected != row.Price:
			j.report("h", purchaseName(id), "%s has a price other than the expected one", rowText(row))
		case !p.shown(tags[row.ProductID]):
			j.report("h", purchaseName(id), "%s has a price that product %d did not have at the time", rowText(row), row.ProductID)
		}
	}
	for i := range j.history.Buys {
		b := &j.history.Buys[i]
		if b.Code != "price_changed" {
			continue
		}
		if b.Price == nil || b.Expected == nil || *b.Price == *b.Expected || !hadPrice(tags[b.ProductID], *b.Price, b.Start, b.End) {
			j.report("h", asked(b), "%s was refused with the current price %s, which product %d did not have at the time", asked(b), number(b.Price), b.ProductID)
		}
	}
}

// shown reports whether the product had the purchase's price when the purchase was
// made.
func (p *purchase) shown(tags []*history.Reprice) bool {
	seen := forever
	for _, b := range p.named {
		seen = min(seen, b.End)
	}
	for _, l := range p.looks {
		if l.Status == 200 {
			seen = min(seen, l.End)
		}
	}
	for _, b := range p.causes {
		if hadPrice(tags, p.rows[0].Price, b.Start, seen) {
			return true
		}
	}
	return len(p.causes) == 0 // which is reported elsewhere
}

// hadPrice reports whether the product may have had the price at some moment
// between from and to.
func hadPrice(tags []*history.Reprice, price int64, from, to time.Duration) bool {
	for _, r := range tags {
		if r.Price == price && !ineffective(r.Call) && r.Start <= to && !replaced(tags, r, max(from, r.Start)) {
			return true
		}
	}
	return false
}

// replaced reports whether another change had certainly followed a change.
func replaced(tags []*history.Reprice, r *history.Reprice, by time.Duration) bool {
	if !effective(r.Call) {
		return false
	}
	for _, next := range tags {
		if effective(next.Call) && next.Start > r.End && next.End < by {
			return true
		}
	}
	return false
}

// effective reports whether an administrator's call took effect, ineffective that
// it did not. A call without an answer is neither.
func effective(c history.Call) bool   { return c.Status >= 200 && c.Status < 300 }
func ineffective(c history.Call) bool { return c.Status >= 400 && c.Status < 500 }
