package check_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"lavka/tests/faults/check"
	"lavka/tests/faults/history"
)

// broken is a way to break the story, for which exactly one invariant must be
// reported.
type broken struct {
	name    string
	breakIt func(*shop)
}

// wantOnly breaks the story in each way.
func wantOnly(t *testing.T, letter string, cases []broken) {
	t.Helper()
	for _, c := range cases {
		s := story()
		c.breakIt(s)
		found := check.Check(s.h, s.b, options)
		if len(found) == 0 {
			t.Errorf("%s: nothing was found", c.name)
		}
		for _, v := range found {
			if v.Invariant != letter || strings.Contains(v.What, "%!") {
				t.Errorf("%s: want only %s, got %s", c.name, letter, v)
			}
		}
	}
}

func TestAValidHistoryPasses(t *testing.T) {
	t.Parallel()
	s := story()
	for _, v := range check.Check(s.h, s.b, options) {
		t.Error(v)
	}
	if found := check.Check(history.History{}, history.Books{}, check.Options{}); found != nil {
		t.Errorf("of nothing: %v", found)
	}
}

func TestReportsAreBoundedAndAlwaysTheSame(t *testing.T) {
	t.Parallel()
	s := story()
	for id := range int64(50) {
		s.enter(history.Transaction{BillID: 21, UserID: 2, Amount: 1, PaymentID: new(9000 + id)})
		s.invent(history.Purchase{ID: "x" + time.Duration(id).String(), UserID: 2, ProductID: 1, BillID: 21, Price: 1, Key: ""})
	}
	found := check.Check(s.h, s.b, options)
	if len(found) != 6 || found[5] != (check.Violation{Invariant: "d", What: "and 95 more"}) {
		t.Errorf("want 5 of d and a count of the rest, got %d: %v", len(found), found)
	}
	for range 20 {
		if again := check.Check(s.h, s.b, options); !reflect.DeepEqual(found, again) {
			t.Fatalf("first %v, then %v", found, again)
		}
	}
}

func TestAReportSaysWhereToLook(t *testing.T) {
	t.Parallel()
	s := story()
	s.chargeOf("bare").Outcome = "expired"
	s.creditOf(5).Amount = 501
	s.addUp()
	var told strings.Builder
	for _, v := range check.Check(s.h, s.b, options) {
		fmt.Fprintln(&told, v)
	}
	for _, want := range []string{
		"a: the order from 112ms to 116ms by client 2 (user 2, product 1, bill 20", "purchase bare", "the charge expired (user 2, bill 20, amount 100",
		"a: payment 5 from 32ms to 36ms by client 0 (user 2, bill 21, amount 500)", "transaction 40 (payment 5, user 2, bill 21, amount 501",
	} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("the violations do not contain %q:\n%s", want, told.String())
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		breakIt func(*shop)
		o       check.Options
	}{
		{"catalog may lose what was not on disk", func(s *shop) {
			b := s.answer("k1", 2)
			b.Status, b.State, b.TransactionID = 202, "pending", nil
			s.h.Looks[0].State, s.h.Looks[0].TransactionID = "pending", nil
		}, check.Options{CatalogForgets: true}},
		{"users are not compared", func(s *shop) { s.b.Customers = nil }, check.Options{SkipUsers: true}},
		{"revocation is not checked", func(s *shop) { s.h.Accesses[1].Status = 200 }, check.Options{}},
	} {
		s := story()
		c.breakIt(s)
		if found := check.Check(s.h, s.b, options); len(found) == 0 {
			t.Errorf("%s: want a violation without the option", c.name)
		}
		for _, v := range check.Check(s.h, s.b, c.o) {
			t.Errorf("%s: %s", c.name, v)
		}
	}
}

func TestASearchThatTakesTooLongIsReported(t *testing.T) {
	t.Parallel()
	s := story()
	o := options
	o.LinearTimeout = 1
	found := check.Check(s.h, s.b, o)
	if len(found) == 0 || found[0].Invariant != "g?" {
		t.Errorf("want g?, got %v", found)
	}
}
