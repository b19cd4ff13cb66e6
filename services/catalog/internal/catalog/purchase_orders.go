package catalog

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Orders is a group of orders that one transaction places. It makes every
// decision about them and does no I/O: a store reads the rows for it and writes
// its drafts.
//
// The steps are: Known with the rows of earlier purchases, Decide, lock the stock of
// the Limited products, Known again, Reserve, insert the Drafts, commit, Placed with
// the purchases that were inserted. While some are Missing, or Waiting for stock,
// repeat the steps for the undecided orders. After a failure, call Again
// and repeat the steps, or call Fail.
type Orders struct {
	entries  []*entry
	backlog  *Backlog
	declines *Declines
}

type entry struct {
	order  Order
	draft  *Purchase // to insert; stays the same when the transaction is retried
	first  *entry    // an earlier order of this group with the same key
	doubt  bool      // the outcome of a COMMIT that included the draft is unknown
	limits bool      // the draft's product has limited stock
	waits  bool      // its stock is locked by another transaction, perhaps by an attempt to place the draft
	read   bool      // result comes from rows that were read, so that another attempt must read them again
	result *Placement
	final  bool // result was committed
}

type userKey struct {
	userID int64
	key    string
}

// NewOrders returns a group of orders, given in order of arrival.
func NewOrders(orders []Order, backlog *Backlog, declines *Declines) *Orders {
	o := &Orders{backlog: backlog, declines: declines}
	for _, order := range orders {
		o.entries = append(o.entries, &entry{order: order})
	}
	return o
}

// Keys returns the users and Idempotency-Keys of the undecided orders that have
// a key.
func (o *Orders) Keys() (users []int64, keys []string) {
	for e := range o.open {
		if e.order.Key != "" {
			users, keys = append(users, e.order.UserID), append(keys, e.order.Key)
		}
	}
	return users, keys
}

// IDs returns the purchase ids of the undecided orders: a purchase that an
// earlier attempt of this transaction committed has one of them.
func (o *Orders) IDs() []uuid.UUID {
	var ids []uuid.UUID
	for e := range o.open {
		ids = append(ids, e.order.ID)
	}
	return ids
}

// ProductIDs returns the ids of the products that Decide needs, each once.
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

// Known decides the orders whose purchase already exists: their own from an
// earlier attempt, or one with the same key, which must have the same content.
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
			e.result, e.read = &Placement{Purchase: p}, true
		} else if p, ok := byKey[userKey{e.order.UserID, e.order.Key}]; ok && e.order.Key != "" {
			e.result, e.read = repeat(e.order, p), true
		}
	}
}

func repeat(o Order, p Purchase) *Placement {
	if !o.sameAs(p) {
		return &Placement{Err: ErrKeyReused}
	}
	return &Placement{Purchase: p, Replayed: true}
}

// Decide drafts purchases for the undecided orders, or refuses them. An order
// joins an earlier one in the group that has a draft with the same key. The
// user's declines and the backlog are checked last, so that a repeat is never
// refused because of them.
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
		if err == nil {
			err = o.declines.Check(e.order.UserID)
		}
		if err == nil && !o.backlog.Room(e.order.UserID, total, ofUser[e.order.UserID]) {
			err = ErrOverloaded
		}
		if err != nil {
			e.result = &Placement{Err: err}
			continue
		}
		e.draft, e.limits = &p, product.OnHand != nil
		draft(e)
	}
}

// Drafts returns the purchases to insert, sorted by user and key, so that two
// transactions that insert the same keys can't deadlock.
func (o *Orders) Drafts() []Purchase {
	var drafts []Purchase
	for e := range o.open {
		if e.draft != nil && !e.waits {
			drafts = append(drafts, *e.draft)
		}
	}
	slices.SortFunc(drafts, func(a, b Purchase) int {
		return cmp.Or(cmp.Compare(a.UserID, b.UserID), strings.Compare(a.Key, b.Key), slices.Compare(a.ID[:], b.ID[:]))
	})
	return drafts
}

// Placed takes the purchases that were inserted and committed. From then on, the
// orders decided so far stay as they are, whatever happens to the others.
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

// Missing reports whether a draft was not inserted because another transaction
// has used its key, or an earlier attempt has inserted it. Another attempt finds
// that purchase.
func (o *Orders) Missing() bool {
	for e := range o.open {
		if e.draft != nil && !e.waits {
			return true
		}
	}
	return false
}

// Again prepares another attempt of the transaction. Drafts keep their content
// and ids, since the previous attempt may have been committed after all. Rows
// that decided an order are read again: until a COMMIT follows the read, such a row
// can still be lost with its server.
func (o *Orders) Again() {
	for _, e := range o.entries {
		if !e.final && e.read {
			e.result, e.read = nil, false
		}
		e.waits = false
	}
}

// Doubt records that the outcome of the COMMIT is unknown.
func (o *Orders) Doubt() {
	for e := range o.open {
		if e.draft != nil && !e.waits {
			e.doubt = true
		}
	}
}

// Doubtful reports whether Doubt has put any order in doubt.
func (o *Orders) Doubtful() bool {
	return slices.ContainsFunc(o.entries, func(e *entry) bool { return e.doubt })
}

// Fail decides the undecided orders. Those that may have been bought get an
// unknown outcome; the others get err, which promises that nothing was bought.
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

// Split returns one group for each order that a failed transaction left
// undecided, so that each is placed by itself. Their placements also appear in
// o's.
func (o *Orders) Split() []*Orders {
	o.Again()
	var alone []*Orders
	for e := range o.open {
		e.first = nil // it will find the first order's row
		alone = append(alone, &Orders{entries: []*entry{e}, backlog: o.backlog, declines: o.declines})
	}
	return alone
}

// Len returns the number of orders.
func (o *Orders) Len() int { return len(o.entries) }

// Placements returns the result of each order, in order of arrival.
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

// open iterates over the undecided orders.
func (o *Orders) open(yield func(*entry) bool) {
	for _, e := range o.entries {
		if e.result == nil && !yield(e) {
			return
		}
	}
}
