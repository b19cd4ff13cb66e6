package check_test

import (
	"slices"
	"testing"
	"time"

	"lavka/tests/faults/check"
	"lavka/tests/faults/history"
)

// second is a time by the database's clock.
func second(n int) time.Time { return time.Unix(int64(n), 0) }

// viewed adds to a story what exports, admins and a reader who follows the ledger saw
// after its end. Its n-th transaction is of second n.
func viewed(s *shop) {
	for i := range s.b.Transactions {
		s.b.Transactions[i].At = second(i)
	}
	call := history.Call{Client: 50, Start: time.Second, End: 2 * time.Second, Status: 200}
	var all []history.Line
	var last *history.Transaction
	for i, l := range slices.Backward(s.b.Transactions) {
		if l.BillID == 10 {
			all = append(all, history.Line{ID: l.ID, Amount: l.Amount, After: l.After, PaymentID: l.PaymentID, PurchaseID: l.PurchaseID})
			if last == nil || i > 2 {
				last = &s.b.Transactions[i]
			}
		}
	}
	s.h.Pages = append(s.h.Pages,
		history.Page{Call: call, UserID: 1, BillID: 10, Export: true, Told: len(all), Lines: all},
		history.Page{Call: call, UserID: 1, BillID: 10, Export: true, Told: len(all), Lines: slices.Clone(all), Admin: true},
		history.Page{Call: call, UserID: 1, BillID: 10, Lines: slices.Clone(all[:2]), Admin: true})
	s.h.Balances = append(s.h.Balances, history.BalanceAt{Call: call, UserID: 1, BillID: 10, At: last.At, Balance: last.After, TransactionID: new(last.ID)})
	bought := s.row("keyed")
	s.h.Views = append(s.h.Views, history.View{Call: call, UserID: 1, More: true, Looks: []history.Look{
		{Call: call, UserID: 1, BillID: 10, PurchaseID: "keyed", State: "completed", Price: bought.Price, TransactionID: bought.TransactionID},
	}})
	for from := 2; from <= 4; from += 2 { // the first two and the last ones were not followed
		f := history.Followed{Call: call, From: second(from), To: second(from + 2)}
		for _, t := range s.b.Transactions[from : from+2] {
			f.Entries = append(f.Entries, history.Entry{ID: t.ID, BillID: t.BillID})
		}
		s.h.Followed = append(s.h.Followed, f)
	}
}

func TestValidViewsPass(t *testing.T) {
	t.Parallel()
	s := story()
	viewed(s)
	for _, v := range check.Check(s.h, s.b, options) {
		t.Error(v)
	}
}

func TestWrongViewsAreFound(t *testing.T) {
	t.Parallel()
	after := func(change func(*shop)) func(*shop) { return func(s *shop) { viewed(s); change(s) } }
	export := func(s *shop) *history.Page { return &s.h.Pages[len(s.h.Pages)-2] }
	wantOnly(t, "e", []broken{
		{"an export ends too early", after(func(s *shop) { export(s).Lines = export(s).Lines[:2]; export(s).Told = 2 })},
		{"an export has a gap", after(func(s *shop) { export(s).Lines = slices.Delete(export(s).Lines, 1, 2); export(s).Told-- })},
		{"an export counts wrong", after(func(s *shop) { export(s).Told++ })},
		{"an export can't be read", after(func(s *shop) { export(s).Failure = "the last record is missing" })},
		{"an earlier balance is another", after(func(s *shop) { s.h.Balances[0].Balance++ })},
		{"an earlier balance is of another transaction", after(func(s *shop) { *s.h.Balances[0].TransactionID = 77 })},
		{"an earlier balance has no transaction", after(func(s *shop) { s.h.Balances[0].TransactionID = nil })},
		{"an earlier balance is later", after(func(s *shop) { s.h.Balances[0].At = second(0) })},
		{"another user read an earlier balance", after(func(s *shop) { s.h.Balances[0].UserID = 2 })},
	})
	wantOnly(t, "c", []broken{
		{"an admin saw another state", after(func(s *shop) { s.h.Views[0].Looks[0].State = "declined"; s.h.Views[0].Looks[0].TransactionID = nil })},
		{"an admin's list can't be read", after(func(s *shop) { s.h.Views[0].Failure = "not JSON" })},
		{"an admin saw no purchases", after(func(s *shop) { s.h.Views[0].Looks, s.h.Views[0].More = nil, false })},
		{"an admin saw another user's purchase", after(func(s *shop) {
			row := s.row("dear")
			s.h.Views[0].Looks = append(s.h.Views[0].Looks, history.Look{Call: s.h.Views[0].Call, UserID: row.UserID, BillID: row.BillID, PurchaseID: "dear", State: row.Status, Price: row.Price, TransactionID: row.TransactionID})
		})},
	})
}

func TestO(t *testing.T) {
	t.Parallel()
	after := func(change func(*history.Followed)) func(*shop) {
		return func(s *shop) { viewed(s); change(&s.h.Followed[1]) }
	}
	wantOnly(t, "o", []broken{
		{"a transaction is missed", after(func(f *history.Followed) { f.Entries = f.Entries[:1] })},
		{"all are missed", after(func(f *history.Followed) { f.Entries = nil })},
		{"one is given twice", after(func(f *history.Followed) { f.Entries = append(f.Entries, f.Entries[0]) })},
		{"one is not in the ledger", after(func(f *history.Followed) { f.Entries = append(f.Entries, history.Entry{ID: 77, BillID: 10}) })},
		{"one is of another time", after(func(f *history.Followed) { f.From = second(5) })},
		{"one appeared later", after(func(f *history.Followed) { f.To = second(7) })},
	})
	t.Run("before a takeover", func(t *testing.T) {
		s := story()
		viewed(s)
		s.h.Followed[0].Entries, s.h.Balances[0].Balance, s.h.Views[0].Looks[0].PurchaseID = nil, 1, "ghost"
		o := options
		o.ReadsFrom = time.Second + 1
		for _, v := range check.Check(s.h, s.b, o) {
			t.Error(v)
		}
	})
}
