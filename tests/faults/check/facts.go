package check

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"lavka/tests/faults/history"
)

// facts are a history and its books, grouped by purchase, payment and bill.
type facts struct {
	history   history.History
	books     history.Books
	purchases map[string]*purchase
	keys      map[key]*wish
	payments  map[int64]*payment
	bills     map[int64]*bill
	refunds   map[string]*refund
	reversals map[int64]*reversal
	refused   map[order]*history.Buy // a refused call of each kind
	unasked   []*purchase            // rows that no call of the history can have made
}

// purchase is everything known about one purchase id.
type purchase struct {
	id      string
	rows    []history.Purchase    // must be at most one
	charges []history.Charge      // the same
	debits  []history.Transaction // the same
	named   []*history.Buy        // the answers that name it: 201, 202, declines
	doubted []*history.Buy        // the answers that name it with an unknown outcome
	looks   []*history.Look
	causes  []*history.Buy // the calls that may have made it
}

// key is an Idempotency-Key of a user.
type key struct {
	user int64
	key  string
}

// wish is everything known about one key.
type wish struct {
	buys []*history.Buy
	rows []*purchase
}

// payment is everything known about one payment id.
type payment struct {
	calls   []*history.Pay
	credits []history.Transaction
}

// bill is everything known about one bill.
type bill struct {
	rows     []history.Bill
	lines    []history.Transaction // in the order of their ids
	declined []*purchase           // for insufficient funds
	reads    []*history.BillRead   // answered 200
	pages    []*history.Page       // the same
	earlier  []*history.BalanceAt  // the same
}

// content is what a purchase requests.
type content struct {
	user, product, bill int64
	quantity            int64
	expected            int64 // 0: none was given
}

func contentOf(b *history.Buy) content {
	return content{b.UserID, b.ProductID, b.BillID, max(1, b.Quantity), value(b.Expected)}
}

func contentOfRow(r history.Purchase) content {
	return content{r.UserID, r.ProductID, r.BillID, r.Units(), value(r.Expected)}
}

// order is what a call requests, and its key.
type order struct {
	content
	key string
}

// credit is what a payment requests.
type credit struct{ user, bill, amount int64 }

func creditOf(p *history.Pay) credit { return credit{p.UserID, p.BillID, p.Amount} }

func creditOfLine(t history.Transaction) credit { return credit{t.UserID, t.BillID, t.Amount} }

// forever is the end of a period that has none.
const forever = time.Duration(math.MaxInt64)

func gather(h history.History, b history.Books) *facts {
	f := &facts{
		history: h, books: b, purchases: map[string]*purchase{}, keys: map[key]*wish{},
		payments: map[int64]*payment{}, bills: map[int64]*bill{}, refused: map[order]*history.Buy{},
		refunds: map[string]*refund{}, reversals: map[int64]*reversal{},
	}
	f.gatherBooks()
	f.gatherHistory()
	f.gatherRefunds()
	f.gatherReversals()
	f.findCauses()
	return f
}

func (f *facts) gatherBooks() {
	for _, r := range f.books.Purchases {
		p := f.purchase(r.ID)
		p.rows = append(p.rows, r)
		if r.Key != "" {
			w := entry(f.keys, key{r.UserID, r.Key})
			w.rows = append(w.rows, p)
		}
	}
	for _, c := range f.books.Charges {
		p := f.purchase(c.PurchaseID)
		p.charges = append(p.charges, c)
		if c.Outcome == "insufficient_funds" {
			b := entry(f.bills, c.BillID)
			b.declined = append(b.declined, p)
		}
	}
	for _, t := range f.books.Transactions {
		b := entry(f.bills, t.BillID)
		b.lines = append(b.lines, t)
		if t.PurchaseID != nil {
			p := f.purchase(*t.PurchaseID)
			p.debits = append(p.debits, t)
		}
		if t.PaymentID != nil {
			p := entry(f.payments, *t.PaymentID)
			p.credits = append(p.credits, t)
		}
	}
	for _, r := range f.books.Bills {
		b := entry(f.bills, r.ID)
		b.rows = append(b.rows, r)
	}
	for _, b := range f.bills {
		slices.SortStableFunc(b.lines, func(s, t history.Transaction) int { return cmp.Compare(s.ID, t.ID) })
	}
}

func (f *facts) gatherHistory() {
	for i := range f.history.Buys {
		b := &f.history.Buys[i]
		if b.Key != "" {
			w := entry(f.keys, key{b.UserID, b.Key})
			w.buys = append(w.buys, b)
		}
		switch answerTo(b) {
		case refused:
			f.refused[order{contentOf(b), b.Key}] = b
		case completed, pending, declined:
			p := f.purchase(b.PurchaseID)
			p.named = append(p.named, b)
		case unknown:
			if b.PurchaseID != "" {
				p := f.purchase(b.PurchaseID)
				p.doubted = append(p.doubted, b)
			}
		}
	}
	for i := range f.history.Pays {
		p := entry(f.payments, f.history.Pays[i].PaymentID)
		p.calls = append(p.calls, &f.history.Pays[i])
	}
	for i := range f.history.Looks {
		p := f.purchase(f.history.Looks[i].PurchaseID)
		p.looks = append(p.looks, &f.history.Looks[i])
	}
	for i := range f.history.Views {
		for k := range f.history.Views[i].Looks {
			l := &f.history.Views[i].Looks[k]
			p := f.purchase(l.PurchaseID)
			p.looks = append(p.looks, l)
		}
	}
	for i := range f.history.BillReads {
		if r := &f.history.BillReads[i]; r.Status == 200 {
			b := entry(f.bills, r.BillID)
			b.reads = append(b.reads, r)
		}
	}
	for i := range f.history.Pages {
		if p := &f.history.Pages[i]; p.Status == 200 {
			b := entry(f.bills, p.BillID)
			b.pages = append(b.pages, p)
		}
	}
	for i := range f.history.Balances {
		if r := &f.history.Balances[i]; r.Status == 200 {
			b := entry(f.bills, r.BillID)
			b.earlier = append(b.earlier, r)
		}
	}
}

func (f *facts) purchase(id string) *purchase {
	p := entry(f.purchases, id)
	p.id = id
	return p
}

// toldBy returns when a client had first received that the purchase was completed
// or declined.
func (p *purchase) toldBy() time.Duration {
	first := forever
	for _, b := range p.named {
		if answerTo(b) != pending {
			first = min(first, b.End)
		}
	}
	for _, l := range p.looks {
		if l.State == "completed" || l.State == "declined" {
			first = min(first, l.End)
		}
	}
	return first
}

// entry returns the value of a key, and adds an empty one if there is none.
func entry[K comparable, V any](m map[K]*V, k K) *V {
	v, ok := m[k]
	if !ok {
		v = new(V)
		m[k] = v
	}
	return v
}

// sorted iterates over a map in the order of its keys.
func sorted[K cmp.Ordered, V any](m map[K]V) func(yield func(K, V) bool) {
	return func(yield func(K, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

// sortedKeys returns all keys, ordered by user.
func (f *facts) sortedKeys() []key {
	return slices.SortedFunc(maps.Keys(f.keys), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.user, b.user), cmp.Compare(a.key, b.key))
	})
}

func value(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// same reports whether two numbers are equal, or both missing.
func same(a, b *int64) bool { return (a == nil) == (b == nil) && value(a) == value(b) }
