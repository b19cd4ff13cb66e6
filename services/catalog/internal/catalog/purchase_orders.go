package catalog

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Orders are those that one transaction places. They hold every decision about
// them and touch nothing: a store brings the rows and writes what they say.
//
// The order of the steps: Known with the rows of earlier purchases, Decide,
// insert the Drafts, commit, Placed with those that were inserted. While some
// are Missing, the same steps once more for what is undecided. After a failure
// Again and the same steps once more, or Fail.
type Orders struct {
	entries []*entry
	backlog *Backlog
}

type entry struct {
	order  Order
	draft  *Purchase // to be inserted; stays the same when the transaction is run again
	first  *entry    // has the same key and goes before this one
	doubt  bool      // a COMMIT with the draft in it was of unknown outcome
	known  bool      // result is by a row that was there
	result *Placement
	final  bool // result was committed
}

type userKey struct {
	userID int64
	key    string
}

// NewOrders takes orders in the order of their arrival.
func NewOrders(orders []Order, backlog *Backlog) *Orders {
	o := &Orders{backlog: backlog}
	for _, order := range orders {
		o.entries = append(o.entries, &entry{order: order})
	}
	return o
}

// Keys are the users and Idempotency-Keys of what is undecided.
func (o *Orders) Keys() (users []int64, keys []string) {
	for e := range o.open {
		if e.order.Key != "" {
			users, keys = append(users, e.order.UserID), append(keys, e.order.Key)
		}
	}
	return users, keys
}

// IDs are the purchase ids of what is undecided: a purchase that was made by
// an earlier run of this transaction has one of them.
func (o *Orders) IDs() []uuid.UUID {
	var ids []uuid.UUID
	for e := range o.open {
		ids = append(ids, e.order.ID)
	}
	return ids
}

// ProductIDs are the products that Decide needs, each once.
func (o *Orders) ProductIDs() []int64 {
	var ids []int64
	for e := range o.open {
		if e.draft == nil && e.first == nil {
			ids = append(ids, e.order.ProductID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Known decides the orders whose purchase is there already: one's own from an
// earlier run, or one with the same key, which must have the same content.
func (o *Orders) Known(rows []Purchase) {
	byID, byKey := map[uuid.UUID]Purchase{}, map[userKey]Purchase{}
	for _, p := range rows {
		byID[p.ID] = p
		if p.Key != "" {
			byKey[userKey{p.UserID, p.Key}] = p
		}
	}
	for e := range o.open {
		if p, ok := byID[e.order.ID]; ok {
			e.result, e.known = &Placement{Purchase: p}, true
		} else if p, ok := byKey[userKey{e.order.UserID, e.order.Key}]; ok && e.order.Key != "" {
			e.result, e.known = repeat(e.order, p), true
		}
	}
}

func repeat(o Order, p Purchase) *Placement {
	if !o.sameAs(p) {
		return &Placement{Err: ErrKeyReused}
	}
	return &Placement{Purchase: p, Replayed: true}
}

// Decide makes drafts of the undecided orders, or refuses them. An order joins
// an earlier one of the same key that has a draft. Overload is asked last: a
// repeat is never refused for it.
func (o *Orders) Decide(products map[int64]Product) {
	drafts := map[userKey]*entry{}
	total, ofUser := 0, map[int64]int{}
	draft := func(e *entry) {
		total++
		ofUser[e.order.UserID]++
		if e.order.Key != "" {
			drafts[userKey{e.order.UserID, e.order.Key}] = e
		}
	}
	for e := range o.open {
		if e.draft != nil {
			draft(e)
		}
	}
	for e := range o.open {
		if e.draft != nil || e.first != nil {
			continue
		}
		if first, ok := drafts[userKey{e.order.UserID, e.order.Key}]; ok {
			e.first = first
			continue
		}
		var product *Product
		if p, ok := products[e.order.ProductID]; ok {
			product = &p
		}
		p, err := e.order.purchase(product)
		if err == nil && !o.backlog.Room(e.order.UserID, total, ofUser[e.order.UserID]) {
			err = ErrOverloaded
		}
		if err != nil {
			e.result = &Placement{Err: err}
			continue
		}
		e.draft = &p
		draft(e)
	}
}

// Drafts are the purchases to insert, sorted by user and key, so that two
// transactions that insert the same ones can't wait for each other.
func (o *Orders) Drafts() []Purchase {
	var drafts []Purchase
	for e := range o.open {
		if e.draft != nil {
			drafts = append(drafts, *e.draft)
		}
	}
	slices.SortFunc(drafts, func(a, b Purchase) int {
		return cmp.Or(cmp.Compare(a.UserID, b.UserID), strings.Compare(a.Key, b.Key), slices.Compare(a.ID[:], b.ID[:]))
	})
	return drafts
}

// Placed takes the purchases that were inserted, once they are committed. What
// is decided by then stays so, whatever becomes of the others.
func (o *Orders) Placed(inserted []Purchase) {
	byID := make(map[uuid.UUID]Purchase, len(inserted))
	for _, p := range inserted {
		byID[p.ID] = p
	}
	for _, e := range o.entries {
		if p, ok := byID[e.order.ID]; ok && e.result == nil {
			e.result = &Placement{Purchase: p}
		}
		e.final = e.result != nil
	}
}

// Missing says whether some draft was not inserted: somebody else has used its
// key, or an earlier run has inserted it. Another run finds that purchase.
func (o *Orders) Missing() bool {
	for e := range o.open {
		if e.draft != nil {
			return true
		}
	}
	return false
}

// Again prepares another run of the transaction. Drafts stay as they are, with
// their ids: the run before may have been committed after all. Rows that were
// there are read again: without a COMMIT after it, such a row may be lost with
// its server still.
func (o *Orders) Again() {
	for _, e := range o.entries {
		if !e.final && (e.draft != nil || e.first != nil || e.known) {
			e.result, e.known = nil, false
		}
	}
}

// Doubt notes that the COMMIT was of unknown outcome.
func (o *Orders) Doubt() {
	for e := range o.open {
		if e.draft != nil {
			e.doubt = true
		}
	}
}

// Doubtful says whether Doubt was called.
func (o *Orders) Doubtful() bool {
	return slices.ContainsFunc(o.entries, func(e *entry) bool { return e.doubt })
}

// Fail decides what is undecided. What may have been bought is said to be
// unknown; the rest gets err, which promises that nothing was.
func (o *Orders) Fail(err error) {
	o.Again()
	for e := range o.open {
		switch {
		case e.doubt:
			e.result = &Placement{Err: Unknown(e.order.ID).Because(err)}
		case e.first == nil:
			e.result = &Placement{Err: e.order.notPlaced(err)}
		}
	}
}

// Split gives each order that a failed transaction leaves undecided a
// transaction of its own. Their placements are also those of o.
func (o *Orders) Split() []*Orders {
	o.Again()
	var alone []*Orders
	for e := range o.open {
		e.first = nil // it will find that one's row
		alone = append(alone, &Orders{entries: []*entry{e}, backlog: o.backlog})
	}
	return alone
}

// Len is the number of orders.
func (o *Orders) Len() int { return len(o.entries) }

// Placements says what became of each order, in the order of their arrival.
func (o *Orders) Placements() []Placement {
	placements := make([]Placement, len(o.entries))
	for i, e := range o.entries {
		placements[i] = e.placement()
	}
	return placements
}

func (e *entry) placement() Placement {
	switch {
	case e.result != nil:
		return *e.result
	case e.first == nil || e.first.result == nil:
		return Placement{Err: errors.New("an order was left undecided")}
	case e.first.result.Err != nil:
		return *e.first.result
	}
	return *repeat(e.order, e.first.result.Purchase)
}

// open goes over what is undecided.
func (o *Orders) open(yield func(*entry) bool) {
	for _, e := range o.entries {
		if e.result == nil && !yield(e) {
			return
		}
	}
}
