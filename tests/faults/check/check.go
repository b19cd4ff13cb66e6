// Package check checks a run of the shop: whether what its clients saw and what
// its databases hold at the end are consistent with the shop's promises.
//
// The input is every call of every client with its start, its end and its answer
// (history.History), and the rows of catalog, billing and auth when no work is
// left (history.Books). The history must have all calls that concern the bills of
// these books, from the first payment on, and the creation of every product that
// is bought. A call is one request: nothing between client and service may repeat
// it.
//
// The invariants, by letter:
//
//	a  what was answered 201 (a purchase) or 200 (a payment) is in the ledger, once
//	b  what was declined or refused is charged nowhere, and nothing is declined or refused without a cause
//	c  everything ends as completed or declined, and both services agree on which
//	d  everything in the books was requested by a client
//	e  balances are the sums of their transactions, and never negative
//	f  the same key, or payment id, always gives the same answer
//	g  per bill, credits, charges and reads are linearizable
//	h  nothing is bought at a price other than the one shown
//	k  of a purchase no more is refunded than was charged; a refund answered 201 is in the ledger once; catalog and billing agree on all refunds
//	l  a payment's reversals take back its greatest total, once; what was answered is in the books
//	p  a stock is what its changes and purchases make, and never below zero; each unit is sold once, and given back once if its purchase is declined
//	j  billing's users match auth's, and a disabled user gets nothing
//	n  the admins' log has each change of a product or a user once
//	o  a reader who follows the list of all transactions by its complete_until gets each transaction once
//	q  a link to reset a password works once; an ended session gets nothing, and one that nothing has ended goes on
//
// The letter i is `billing verify` and `catalog verify`, which are run elsewhere. An error is reported
// once: a purchase, payment, bill or user with a violation is skipped by the
// checks that follow, so that one lost row is one violation and not five. The
// order is f, a, k, l, p, b, c, d, h, then the causes of (b), then e, g, j, then n,
// o and q.
//
// It can't detect: what happened between two observations and left no trace (a
// balance that was wrong for a moment in which no client read it); which of
// several unanswered purchases with the same content, without a key, became which
// row; whether an answer came soon enough, had its Retry-After, or had everything
// that the contract requires; why something was answered 5xx. Nor does it check
// bills, products and users that do not occur in the history.
package check

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"lavka/tests/faults/history"
)

// Violation is one broken invariant.
type Violation struct {
	Invariant string // its letter; "g?" if the search for (g) timed out
	What      string // a sentence with the ids, amounts and times needed to find it
}

func (v Violation) String() string { return v.Invariant + ": " + v.What }

// Options describe what was done to the shop. The zero value checks everything
// except revocation and expiry.
type Options struct {
	// LinearTimeout limits the search that (g) makes for each bill; 0 means 20 s.
	LinearTimeout time.Duration
	// RevocationLimit is how long a disabled user may keep access; 0 means that
	// this is not checked.
	RevocationLimit time.Duration
	// Expiry is how long billing has to settle a purchase; 0 means that purchases
	// declined as expired are not checked for having expired.
	Expiry time.Duration
	// BadTokens is for shops whose wrong clocks make valid tokens look invalid.
	BadTokens bool
	// ReadsFrom excludes reads of bills, of the ledger and of all of a user's purchases that began before it: what they saw may
	// have been lost with a primary, although no answer was (docs/reliability.md).
	ReadsFrom time.Duration
	// SkipUsers skips the comparison of billing's users with auth's, for a run that
	// does not wait until they match.
	SkipUsers bool
	// CatalogForgets is for runs that crash catalog's database. Catalog writes
	// billing's answers without waiting for the disk, so a purchase that was
	// seen settled may be seen pending once more (docs/purchase-states.md).
	CatalogForgets bool
}

// Check returns the violations: at most five per letter and a count of the rest,
// in the order of the letters. The result is the same for the same input, unless
// a search reaches its time limit.
func Check(h history.History, b history.Books, o Options) []Violation {
	if o.LinearTimeout == 0 {
		o.LinearTimeout = 20 * time.Second
	}
	h.BillReads = slices.DeleteFunc(slices.Clone(h.BillReads), func(r history.BillRead) bool { return r.Start < o.ReadsFrom })
	h.Pages = slices.DeleteFunc(slices.Clone(h.Pages), func(p history.Page) bool { return p.Start < o.ReadsFrom })
	h.Views = slices.DeleteFunc(slices.Clone(h.Views), func(v history.View) bool { return v.Start < o.ReadsFrom })
	h.Balances = slices.DeleteFunc(slices.Clone(h.Balances), func(b history.BalanceAt) bool { return b.Start < o.ReadsFrom })
	h.Followed = slices.DeleteFunc(slices.Clone(h.Followed), func(f history.Followed) bool { return f.Start < o.ReadsFrom })
	j := &judge{Options: o, facts: gather(h, b), seen: map[string]bool{}, told: map[string][]string{}, rest: map[string]int{}}
	j.sameAnswers()
	j.answersKept()
	j.refundsKept()
	j.reversalsKept()
	j.stockKept()
	j.declinesKept()
	j.allEnds()
	j.viewed()
	j.nothingUnasked()
	j.pricesShown()
	j.deserved()
	j.ledger()
	j.linearizable()
	j.users()
	j.logged()
	j.followed()
	j.sessions()
	return j.violations()
}

// judge has the facts and collects the violations.
type judge struct {
	Options
	*facts
	seen map[string]bool     // subjects with a violation
	told map[string][]string // sentences by letter
	rest map[string]int      // by letter, beyond the first ones
}

// maxEach is how many violations of each letter are reported in full.
const maxEach = 5

// report adds a violation about a subject, unless the subject already has one.
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
	for _, letter := range slices.Sorted(maps.Keys(j.told)) {
		for _, what := range j.told[letter] {
			all = append(all, Violation{letter, what})
		}
		if n := j.rest[letter]; n > 0 {
			all = append(all, Violation{letter, fmt.Sprintf("and %d more", n)})
		}
	}
	return all
}
