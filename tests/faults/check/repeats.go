package check

import (
	"fmt"
	"time"

	"lavka/tests/faults/history"
)

// sameAnswers checks invariant (f).
//
// All answers to one key that name a purchase (201, 202, declines) name the same
// one, at the same price; those that give the outcome give the same: the status,
// the code, the transaction or the balance. At most one of them is not marked as
// a repeat. Once one of them has ended, no later call with the same content is
// refused for the product, its price, its stock, the key or overload. A key is refused as
// reused only if it belongs to a purchase with other content.
//
// For each purchase, with a key or without: once a client has received its
// outcome, no later answer or GET shows it as pending (see
// Options.CatalogForgets); once an answer has named it, no later GET by its buyer
// is answered 404.
//
// All answers 200 to one payment id are to the same content, and at most one of
// them is not marked as a repeat. Once one has ended, a later call with the same
// content is answered 200, 429, 5xx or not at all.
func (j *judge) sameAnswers() {
	for _, k := range j.sortedKeys() {
		if wrong := j.keys[k].contradiction(); wrong != "" {
			j.report("f", fmt.Sprintf("key %d %q", k.user, k.key), "key %q of user %d: %s", k.key, k.user, wrong)
			for _, b := range j.keys[k].buys {
				j.seen[purchaseName(b.PurchaseID)], j.seen[asked(b)] = true, true
			}
		}
	}
	for id, p := range sorted(j.purchases) {
		if wrong := p.wayBack(j.CatalogForgets); wrong != "" {
			j.report("f", purchaseName(id), "%s: %s", purchaseName(id), wrong)
		}
	}
	for id, p := range sorted(j.payments) {
		if wrong := p.contradiction(); wrong != "" {
			j.report("f", paymentName(id), "%s", wrong)
		}
	}
}

func (w *wish) contradiction() string {
	var first, definite, original *history.Buy
	answeredBy := map[content]time.Duration{}
	for _, b := range w.buys {
		a := answerTo(b)
		if a == unknown || a == refused {
			continue
		}
		if first == nil {
			first = b
		}
		if b.PurchaseID != first.PurchaseID || (b.Price != nil && first.Price != nil && *b.Price != *first.Price) {
			return differ(first, b)
		}
		if first.Price == nil {
			first = b // names the same purchase, and also its price
		}
		if a != pending {
			if definite != nil && !sameEnd(definite, b) {
				return differ(definite, b)
			}
			definite = b
		}
		if !b.Replayed {
			if original != nil {
				return fmt.Sprintf("neither %s nor %s was marked as a repeat", asked(original), asked(b))
			}
			original = b
		}
		by, ok := answeredBy[contentOf(b)]
		if !ok || b.End < by {
			answeredBy[contentOf(b)] = b.End
		}
	}
	for _, b := range w.buys {
		if by, ok := answeredBy[contentOf(b)]; ok && b.Start > by && neverAgain[problem{b.Status, b.Code}] {
			return fmt.Sprintf("%s was refused (%s), although a request with the same key and content had been answered by %s", asked(b), b.Code, by)
		}
		if b.Code == "idempotency_key_reused" && (len(w.rows) == 0 || contentOfRow(w.rows[0].rows[0]) == contentOf(b)) {
			return fmt.Sprintf("%s was refused because its key was reused, but the key belongs to no other purchase", asked(b))
		}
	}
	return ""
}

// neverAgain are refusals that a repeat must not get.
var neverAgain = map[problem]bool{
	{404, "product_not_found"}: true, {409, "price_changed"}: true, {409, "out_of_stock"}: true, {429, "pending_limit"}: true, {422, "idempotency_key_reused"}: true, {503, "overloaded"}: true,
}

func sameEnd(a, b *history.Buy) bool {
	return a.Code == b.Code && same(a.TransactionID, b.TransactionID) && same(a.Balance, b.Balance)
}

func differ(a, b *history.Buy) string {
	return fmt.Sprintf("%s was answered %s, but %s was answered %s", asked(a), answerText(a), asked(b), answerText(b))
}

func answerText(b *history.Buy) string {
	return fmt.Sprintf("%d %s %s, price %s, transaction %s, balance %s", b.Status, b.Code, b.PurchaseID, number(b.Price), number(b.TransactionID), number(b.Balance))
}

// wayBack returns how a purchase went back to an earlier state, or "".
func (p *purchase) wayBack(mayForget bool) string {
	toldBy := p.toldBy()
	named := map[int64]time.Duration{} // to each buyer; there must be only one
	for _, b := range p.named {
		if by, ok := named[b.UserID]; !ok || b.End < by {
			named[b.UserID] = b.End
		}
	}
	if mayForget {
		toldBy = forever
	}
	for _, b := range p.named {
		if answerTo(b) == pending && b.Start > toldBy {
			return fmt.Sprintf("%s was answered 202, although a client had the outcome by %s", asked(b), toldBy)
		}
	}
	for _, l := range p.looks {
		if l.State == "pending" && l.Start > toldBy {
			return fmt.Sprintf("a GET %s showed it as pending, although a client had the outcome by %s", when(l.Call), toldBy)
		}
		if by, ok := named[l.UserID]; ok && l.Status == 404 && l.Start > by {
			return fmt.Sprintf("a GET %s was answered 404, although an answer had named it by %s", when(l.Call), by)
		}
	}
	return ""
}

func (p *payment) contradiction() string {
	var first, original *history.Pay
	credited := forever
	for _, call := range p.calls {
		if answerToPay(call) != completed {
			continue
		}
		if first == nil {
			first = call
		}
		if creditOf(call) != creditOf(first) {
			return fmt.Sprintf("two different payments with the same id were answered 200: %s and %s", paid(first), paid(call))
		}
		if !call.Replayed {
			if original != nil {
				return fmt.Sprintf("neither was marked as a repeat: %s and %s", paid(original), paid(call))
			}
			original = call
		}
		credited = min(credited, call.End)
	}
	for _, call := range p.calls {
		refusedLater := call.Start > credited && creditOf(call) == creditOf(first) && call.Status >= 400 && call.Status < 500 && call.Status != 429
		if refusedLater {
			return fmt.Sprintf("%s was refused (%d %s), although it had been credited by %s", paid(call), call.Status, call.Code, credited)
		}
	}
	return ""
}
