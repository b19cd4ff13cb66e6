package check

import (
	"fmt"

	"lavka/tests/faults/history"
)

// stockName is the subject of a violation of (p).
func stockName(product int64) string { return fmt.Sprintf("the stock of product %d", product) }

// stockKept checks invariant (p). The stock of a product is the sum of its changes less
// the units of the purchases that are not declined, and is not below zero. Every purchase
// of it has taken its quantity, unless the limit may have been set later. A change that was answered 201 is in catalog once, as
// requested; every change with a key was requested, and not refused. A completed refund
// has put its units back once, and no other has.
func (j *judge) stockKept() {
	limited, later := map[int64]bool{}, map[int64]bool{}
	left := map[int64]int64{} // units, by product
	for _, s := range j.books.Stocks {
		limited[s.ProductID], later[s.ProductID] = true, true
	}
	for _, c := range j.books.StockChanges {
		if c.Key == "" && c.RefundID == nil {
			later[c.ProductID] = false
		}
	}
	for _, r := range j.books.Purchases {
		switch {
		case limited[r.ProductID] && r.Taken != r.Units() && !(later[r.ProductID] && r.Taken == 0) || !limited[r.ProductID] && r.Taken != 0:
			j.report("p", purchaseName(r.ID), "catalog has %s, which took %d units of the stock", rowText(r), r.Taken)
		case r.Status != "declined":
			left[r.ProductID] -= r.Taken
		}
	}
	for _, c := range j.books.StockChanges {
		left[c.ProductID] += c.Change
	}
	for _, s := range j.books.Stocks {
		if s.OnHand != left[s.ProductID] || s.OnHand < 0 {
			j.report("p", stockName(s.ProductID), "%s is %d, and its changes and purchases make %d", stockName(s.ProductID), s.OnHand, left[s.ProductID])
		}
	}
	j.changesOfStock(limited)
	j.unitsPutBack(limited, later)
}

// stockKey is an Idempotency-Key of a product's stock.
type stockKey struct {
	product int64
	key     string
}

func (j *judge) changesOfStock(limited map[int64]bool) {
	rows := map[stockKey][]history.StockChange{}
	for _, c := range j.books.StockChanges {
		if c.Key != "" {
			k := stockKey{c.ProductID, c.Key}
			rows[k] = append(rows[k], c)
		}
	}
	asked := map[stockKey]bool{}
	for _, c := range j.history.Stockings {
		if !limited[c.ProductID] {
			continue // of another world
		}
		k := stockKey{c.ProductID, c.Key}
		found := rows[k]
		asked[k] = true
		if c.Status == 201 && (len(found) != 1 || found[0].Change != c.Change) {
			j.report("p", stockName(c.ProductID), "the change of %s by %d %s (key %q) was answered 201, and catalog has it as %v", stockName(c.ProductID), c.Change, when(c.Call), c.Key, found)
		}
	}
	for k := range rows {
		if !asked[k] {
			j.report("p", stockName(k.product), "catalog has a change of %s with the key %q, which no client requested", stockName(k.product), k.key)
		}
	}
}

func (j *judge) unitsPutBack(limited, later map[int64]bool) {
	back := map[string]int64{}
	for _, c := range j.books.StockChanges {
		if c.RefundID != nil {
			back[*c.RefundID] += c.Change
		}
	}
	of := map[string]int64{} // products
	for _, r := range j.books.Purchases {
		of[r.ID] = r.ProductID
	}
	for _, r := range j.books.Refunds {
		want := int64(0)
		if r.Status == "completed" && limited[of[r.PurchaseID]] {
			want = r.Restock
		}
		if back[r.ID] != want && !(later[of[r.PurchaseID]] && back[r.ID] == 0) {
			j.report("p", refundName(r.ID), "catalog has %s, which was to put %d units back, and put %d back", refundText(r), want, back[r.ID])
		}
	}
}
