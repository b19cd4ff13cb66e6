// Package check judges a run of the shop: whether what its clients saw and what
// its databases hold in the end can both be true of a shop that keeps its word.
//
// What is observed: every call of every client with its beginning, its end and
// its answer (history.History), and the rows of catalog, billing and auth when
// everything has come to rest (history.Books). The history must have all calls
// that concern the bills of these books, from the first payment on, and the
// creation of every product that is bought. A call is one request: nothing
// between client and service may repeat it.
//
// What is judged, by letters:
//
//	a  what was answered 201 (a purchase) or 200 (a payment) is in the ledger, once
//	b  what was declined or refused is charged nowhere, and was not so without a cause
//	c  everything ends as completed or declined, and both services agree on which
//	d  nothing is in the books that no client asked for
//	e  balances are the sums of their transactions, and never negative
//	f  the same key, or payment id, always gives the same answer
//	g  per bill, credits, charges and reads are linearizable
//	h  nothing is bought at another price than was shown
//	j  billing knows the users as auth does, and a disabled user gets nothing
//
// The letter i is `billing verify`, which is run elsewhere. A fault is told
// once: a purchase, payment, bill or user that one judgement has found wrong is
// passed over by those after it, so that one lost row is one violation and not
// five. The order is f, a, b, c, d, h, then the causes of (b), then e, g, then j.
//
// What can't be seen: what happened between two observations and left no trace
// (a balance that was wrong for a moment while nobody read it); which of
// several unanswered purchases of the same content, without a key, became which
// row;
// whether an answer came soon enough, had its Retry-After, or said all that the
// contract asks for; why something was answered 5xx. Nor does it see bills, products and users that the history
// is silent about.
package check

import (
	"fmt"
	"slices"
	"time"

	"lavka/tests/faults/history"
)

// Violation is one thing that must not be.
type Violation struct {
	Invariant string // its letter; "g?" when the search for (g) was given up
	What      string // a sentence with the ids, amounts and times to find it by
}

func (v Violation) String() string { return v.Invariant + ": " + v.What }

// Options say what was done to the shop. The zero value judges everything but
// revocation.
type Options struct {
	// LinearTimeout bounds the search that (g) has made for each bill; 0 means
	// 20 s.
	LinearTimeout time.Duration
	// RevocationLimit is how long a disabled user may still be let in; 0 means
	// that it is not judged.
	RevocationLimit time.Duration
	// Expiry is how long billing has for a purchase; 0 means that it is not
	// judged whether what was declined as expired had expired.
	Expiry time.Duration
	// BadTokens is for shops whose clocks make good tokens look bad.
	BadTokens bool
	// ReadsFrom leaves out reads of bills that began before it: what they saw may
	// have been lost with a primary, though no answer was (docs/reliability.md).
	ReadsFrom time.Duration
	// SkipUsers leaves out whether billing knows the users as auth does, for a
	// run that does not wait for it.
	SkipUsers bool
	// CatalogForgets is for runs that crash catalog's database. Catalog writes
	// billing's answers without waiting for the disk, so a purchase that was
	// seen settled may be seen pending once more (docs/purchase-states.md).
	CatalogForgets bool
}

// Check gives what is wrong: at most five violations of each letter and a count
// of the rest, in the order of the letters. It is the same for the same input,
// unless a search runs into its time limit.
func Check(h history.History, b history.Books, o Options) []Violation {
	if o.LinearTimeout == 0 {
		o.LinearTimeout = 20 * time.Second
	}
	h.BillReads = slices.DeleteFunc(slices.Clone(h.BillReads), func(r history.BillRead) bool { return r.Start < o.ReadsFrom })
	h.Pages = slices.DeleteFunc(slices.Clone(h.Pages), func(p history.Page) bool { return p.Start < o.ReadsFrom })
	j := &judge{Options: o, facts: gather(h, b), seen: map[string]bool{}, told: map[string][]string{}, rest: map[string]int{}}
	j.sameAnswers()
	j.answersKept()
	j.declinesKept()
	j.allEnds()
	j.nothingUnasked()
	j.pricesShown()
	j.deserved()
	j.ledger()
	j.linearizable()
	j.users()
	return j.violations()
}

// judge has the facts and collects what is wrong with them.
type judge struct {
	Options
	*facts
	seen map[string]bool     // what was told of
	told map[string][]string // sentences by letter
	rest map[string]int      // by letter, beyond the first ones
}

// maxEach is how many violations of each letter are told.
const maxEach = 5

// report adds a violation about a subject, unless it was told of before.
func (j *judge) report(letter, subject, format string, args ...any) {
	switch {
	case j.seen[subject]:
		return
	case len(j.told[letter]) < maxEach:
		j.told[letter] = append(j.told[letter], fmt.Sprintf(format, args...))
	default:
		j.rest[letter]++
	}
	j.seen[subject] = true
}

func (j *judge) violations() []Violation {
	var all []Violation
	for _, letter := range []string{"a", "b", "c", "d", "e", "f", "g", "g?", "h", "j"} {
		for _, what := range j.told[letter] {
			all = append(all, Violation{letter, what})
		}
		if n := j.rest[letter]; n > 0 {
			all = append(all, Violation{letter, fmt.Sprintf("and %d more", n)})
		}
	}
	return all
}
