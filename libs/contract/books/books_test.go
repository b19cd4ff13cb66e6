package books

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

var at = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func book(t *testing.T, name string, entries ...Entry) *Reader {
	t.Helper()
	var text bytes.Buffer
	w, err := NewWriter(&text, name, at)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(&text, name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const (
	old  = "019ac000-0000-7000-8000-000000000001" // of 2025-11-26
	next = "019ac000-0000-7000-8000-000000000002"
)

func TestDifferences(t *testing.T) {
	t.Parallel()
	bought := Entry{PurchaseID: old, UserID: 3, BillID: 7, Minor: 999, Outcome: Settled, TransactionID: 5, Due: true}
	charged := bought
	charged.Due = false
	changed := func(e Entry, change func(*Entry)) []Entry { change(&e); return []Entry{e} }
	young := v7(at.Add(-time.Minute))
	for name, c := range map[string]struct {
		catalog, billing []Entry
		want             string // "" for none
	}{
		"the same": {[]Entry{bought}, []Entry{charged}, ""},
		"a charge that was undone, with its debit and balance": {[]Entry{bought}, nil, "is completed in catalog, with transaction 5, but billing has no charge for it: the user has it, and bill 7 was not debited"},
		"the same, not yet due":                                {changed(bought, func(e *Entry) { e.Due = false }), nil, ""},
		"declined in billing":                                  {[]Entry{bought}, changed(charged, func(e *Entry) { e.Outcome, e.TransactionID = "expired", 0 }), "is, in catalog, settled for user 3 on bill 7, 999 minor units, with transaction 5; in billing, expired for user 3"},
		"declined in catalog":                                  {changed(bought, func(e *Entry) { e.Outcome, e.TransactionID = "expired", 0 }), []Entry{charged}, "is, in catalog, expired"},
		"another price":                                        {[]Entry{bought}, changed(charged, func(e *Entry) { e.Minor = 1 }), "999 minor units"},
		"another user":                                         {[]Entry{bought}, changed(charged, func(e *Entry) { e.UserID = 4 }), "for user 4"},
		"another bill":                                         {[]Entry{bought}, changed(charged, func(e *Entry) { e.BillID = 8 }), "on bill 8"},
		"another transaction":                                  {[]Entry{bought}, changed(charged, func(e *Entry) { e.TransactionID = 6 }), "with transaction 6"},
		"a decline that billing lost":                          {changed(bought, func(e *Entry) { e.Outcome, e.TransactionID = "expired", 0 }), nil, "billing has no such decision, and could still charge bill 7"},
		"the same refund":                                      {[]Entry{bought, refundOf(bought, true)}, []Entry{charged, refundOf(bought, false)}, ""},
		"a refund that billing lost":                           {[]Entry{bought, refundOf(bought, true)}, []Entry{charged}, "is completed in catalog, with transaction 9, but billing has no such refund: bill 7 was not credited"},
		"a refund that catalog lost":                           {[]Entry{bought}, []Entry{charged, refundOf(bought, false)}, "billing credited refund " + next + " of purchase " + old + " to user 3"},
		"a refund of another amount":                           {[]Entry{bought, refundOf(bought, true)}, append([]Entry{charged}, changed(refundOf(bought, false), func(e *Entry) { e.Minor = 4 })...), "refund " + next + " of purchase " + old + " is, in catalog, settled for user 3 on bill 7, 5 minor units, with transaction 9; in billing, settled for user 3 on bill 7, 4 minor units"},
		"a refund of another purchase":                         {[]Entry{bought, refundOf(bought, true)}, append([]Entry{charged}, changed(refundOf(bought, false), func(e *Entry) { e.PurchaseID = next })...), "refund " + next},
		"a refund that is still pending":                       {append([]Entry{bought}, changed(refundOf(bought, true), func(e *Entry) { e.Outcome, e.TransactionID = Pending, 0 })...), []Entry{charged, refundOf(bought, false)}, "is still pending in catalog, more than an hour after it was requested, although billing decided: settled"},
		"a refund that billing has not decided":                {append([]Entry{bought}, changed(refundOf(bought, true), func(e *Entry) { e.Outcome, e.TransactionID = Pending, 0 })...), []Entry{charged}, "and billing has not decided on it"},
		"a declined refund that billing lost":                  {append([]Entry{bought}, changed(refundOf(bought, true), func(e *Entry) { e.Outcome, e.TransactionID = "bill_owes", 0 })...), []Entry{charged}, "could still credit bill 7"},
		"a young refund that billing lacks":                    {append([]Entry{bought}, changed(refundOf(bought, true), func(e *Entry) { e.Due = false })...), []Entry{charged}, ""},
		"a young refund that catalog lacks":                    {[]Entry{bought}, append([]Entry{charged}, changed(refundOf(bought, false), func(e *Entry) { e.RefundID = young })...), ""},
		"still pending":                                        {changed(bought, func(e *Entry) { e.Outcome, e.TransactionID = Pending, 0 }), nil, "is still pending in catalog, more than an hour after it expired, and billing has not decided on it"},
		"still pending, and charged":                           {changed(bought, func(e *Entry) { e.Outcome, e.TransactionID = Pending, 0 }), []Entry{charged}, "although billing decided: settled"},
		"a charge without its purchase":                        {nil, []Entry{charged}, "billing charged user 3 for purchase " + old + ", with transaction 5 on bill 7, but catalog does not have that purchase"},
		"a decline without its purchase":                       {nil, changed(charged, func(e *Entry) { e.Outcome, e.TransactionID = "expired", 0 }), ""},
		"a charge that is newer than the book":                 {nil, changed(charged, func(e *Entry) { e.PurchaseID = young }), ""},
		"a request that billing could not read": {
			changed(bought, func(e *Entry) { e.Outcome, e.TransactionID = "expired", 0 }), []Entry{{PurchaseID: old, Outcome: "expired"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			same := Entry{PurchaseID: next, UserID: 1, BillID: 1, Minor: 1, Outcome: "insufficient_funds"}
			result, err := Compare(book(t, Catalog, sorted(c.catalog, same)...), book(t, Billing, sorted(c.billing, same)...))
			if err != nil {
				t.Fatal(err)
			}
			switch found := strings.Join(result.Differences, "\n"); {
			case c.want == "" && found != "":
				t.Errorf("found %s", found)
			case c.want != "" && (len(result.Differences) != 1 || !strings.Contains(found, c.want)):
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}

func refundOf(e Entry, due bool) Entry {
	return Entry{RefundID: next, PurchaseID: e.PurchaseID, UserID: e.UserID, BillID: e.BillID, Minor: 5, Outcome: Settled, TransactionID: 9, Due: due}
}

// v7 returns a UUIDv7 of a time.
func v7(at time.Time) string {
	hex := []byte("000000000000")
	for ms, i := at.UnixMilli(), 11; i >= 0; ms, i = ms/16, i-1 {
		hex[i] = "0123456789abcdef"[ms%16]
	}
	return string(hex[:8]) + "-" + string(hex[8:]) + "-7000-8000-000000000000"
}

// sorted returns the entries with another one, in order.
func sorted(entries []Entry, same Entry) []Entry {
	return slices.SortedFunc(slices.Values(append([]Entry{same}, entries...)), func(a, b Entry) int { return strings.Compare(a.key(), b.key()) })
}

func TestATruncatedBookIsRefused(t *testing.T) {
	t.Parallel()
	head := `{"v":2,"book":"catalog","at":"2026-11-29T12:00:00Z"}` + "\n"
	for text, want := range map[string]string{
		"":     "catalog's books are empty",
		"{}\n": "these are not the books of catalog",
		strings.Replace(head, "catalog", "billing", 1): "these are not the books of catalog",
		strings.Replace(head, `"v":2`, `"v":1`, 1):     "use that of the same release",
		head:                                "end after 0 entries, without their last line",
		head + `{"purchase_id":"b"}` + "\n": "end after 1 entries",
		head + `{"purchase_id":"b"}` + "\n" + `{"purchase_id":"a"}` + "\n": "are not in order",
		head + `{"end":true,"items":1}` + "\n":                             "have 0 entries, but count 1",
		head + `{"purchase` + "\n":                                         "can't be read after 0 entries",
	} {
		r, err := NewReader(strings.NewReader(text), Catalog)
		for err == nil {
			_, err = r.Next()
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestBillingIsReadSecond(t *testing.T) {
	t.Parallel()
	first := book(t, Billing)
	first.Head.At = at.Add(-2 * time.Minute)
	if _, err := Compare(book(t, Catalog), first); err == nil || !strings.Contains(err.Error(), "read catalog's first") {
		t.Error(err)
	}
}
