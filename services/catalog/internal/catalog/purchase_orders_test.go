package catalog

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

var shelf = map[int64]Product{1: {ID: 1, Title: "tea", Price: 350}, 2: {ID: 2, Title: "coffee", Price: 900}}

func roomy() *Backlog { return NewBacklog(Limits{Pending: 100, PendingPerUser: 100}) }

func keyed(n byte, key string, product int64) Order {
	return Order{ID: id(n), UserID: 5, ProductID: product, BillID: 1, Key: key}
}

func drafted(o *Orders) []uuid.UUID {
	var ids []uuid.UUID
	for _, p := range o.Drafts() {
		ids = append(ids, p.ID)
	}
	return ids
}

func TestAnOrdinaryGroup(t *testing.T) {
	t.Parallel()
	o := NewOrders([]Order{keyed(1, "", 1), keyed(2, "b", 2), keyed(3, "a", 1), keyed(4, "", 9)}, roomy(), lenient())
	if users, keys := o.Keys(); !slices.Equal(users, []int64{5, 5}) || !slices.Equal(keys, []string{"b", "a"}) {
		t.Errorf("keys %v %v", users, keys)
	}
	if got := o.ProductIDs(); !slices.Equal(got, []int64{1, 2, 9}) {
		t.Errorf("products %v", got)
	}
	o.Known(nil)
	o.Decide(shelf)
	if got := drafted(o); !slices.Equal(got, []uuid.UUID{id(1), id(3), id(2)}) {
		t.Errorf("drafts %v are not sorted by user and key", got)
	}
	o.Placed(o.Drafts())
	if o.Missing() {
		t.Error("something is missing")
	}
	got := o.Placements()
	for i, want := range []string{"", "", "", "product_not_found"} {
		if code(got[i].Err) != want || got[i].Replayed {
			t.Errorf("order %d: %+v", i, got[i])
		}
	}
}

func TestRepeats(t *testing.T) {
	t.Parallel()
	settled := Purchase{ID: id(90), UserID: 5, ProductID: 1, BillID: 1, Key: "k", Status: Completed}
	stranger := Purchase{ID: id(91), UserID: 6, ProductID: 1, BillID: 1, Key: "k2"}
	// The product is deleted, and the backlog has no room: neither affects a repeat.
	o := NewOrders([]Order{keyed(1, "k", 1), keyed(2, "k", 2), keyed(3, "k2", 1)}, NewBacklog(Limits{}), lenient())
	o.Known([]Purchase{settled, stranger})
	o.Decide(nil)
	if len(o.Drafts()) != 0 {
		t.Fatalf("drafts %v", o.Drafts())
	}
	got := o.Placements()
	if got[0].Err != nil || !got[0].Replayed || got[0].Purchase.ID != settled.ID || got[0].Purchase.Status != Completed {
		t.Errorf("the repeat: %+v", got[0])
	}
	if code(got[1].Err) != "idempotency_key_reused" {
		t.Errorf("other content: %+v", got[1])
	}
	if code(got[2].Err) != "product_not_found" {
		t.Errorf("another user's key: %+v", got[2])
	}
}

func TestTheSameKeyTwiceInAGroup(t *testing.T) {
	t.Parallel()
	o := NewOrders([]Order{keyed(1, "k", 9), keyed(2, "k", 1), keyed(3, "k", 1), keyed(4, "k", 2), keyed(5, "k", 9)}, roomy(), lenient())
	o.Known(nil)
	o.Decide(shelf)
	o.Placed(o.Drafts())
	got := o.Placements()
	if code(got[0].Err) != "product_not_found" {
		t.Errorf("the first is not refused: %+v", got[0])
	}
	if got[1].Err != nil || got[1].Replayed || got[1].Purchase.ID != id(2) {
		t.Errorf("the second, after a refusal, is not placed: %+v", got[1])
	}
	if got[2].Err != nil || !got[2].Replayed || got[2].Purchase.ID != id(2) {
		t.Errorf("the third does not join the second: %+v", got[2])
	}
	for i := 3; i < 5; i++ {
		if code(got[i].Err) != "idempotency_key_reused" {
			t.Errorf("other content: %+v", got[i])
		}
	}
}

func TestAnotherReplicaWasFaster(t *testing.T) {
	t.Parallel()
	o := NewOrders([]Order{keyed(1, "k", 1), keyed(2, "k", 2), keyed(3, "", 1)}, roomy(), lenient())
	o.Known(nil)
	o.Decide(shelf)
	o.Placed([]Purchase{{ID: id(3), UserID: 5, Status: Pending}})
	if !o.Missing() {
		t.Fatal("nothing is missing")
	}
	// The next attempt reads the other replica's purchase, and its COMMIT fails. The
	// attempt after that reads it again.
	other := []Purchase{{ID: id(70), UserID: 5, ProductID: 2, BillID: 1, Key: "k"}}
	o.Known(other)
	o.Again()
	if users, keys := o.Keys(); !slices.Equal(users, []int64{5, 5}) || !slices.Equal(keys, []string{"k", "k"}) {
		t.Errorf("the keys to look up again are %v %v", users, keys)
	}
	if got := o.IDs(); !slices.Equal(got, []uuid.UUID{id(1), id(2)}) {
		t.Errorf("undecided are %v", got)
	}
	o.Known(other)
	got := o.Placements()
	if code(got[0].Err) != "idempotency_key_reused" {
		t.Errorf("the other replica's purchase has other content: %+v", got[0])
	}
	if got[1].Err != nil || got[1].Purchase.ID != id(70) || !got[1].Replayed {
		t.Errorf("the other replica's purchase has the same content: %+v", got[1])
	}
	if got[2].Err != nil || got[2].Replayed {
		t.Errorf("the third: %+v", got[2])
	}
}

// A COMMIT of an attempt that has only read other replicas' purchases says nothing
// about drafts, which were not part of it.
func TestOnlyDraftsOfTheCommitAreInDoubt(t *testing.T) {
	t.Parallel()
	o := NewOrders([]Order{keyed(1, "k", 1), keyed(2, "", 1)}, roomy(), lenient())
	o.Known(nil)
	o.Decide(shelf)
	o.Placed(o.Drafts()[:1])
	if got := o.IDs(); !slices.Equal(got, []uuid.UUID{id(1)}) {
		t.Fatalf("undecided are %v", got)
	}
	o.Known([]Purchase{{ID: id(70), UserID: 5, ProductID: 1, BillID: 1, Key: "k"}})
	o.Doubt()
	o.Fail(problem.New(problem.Unavailable, "unavailable", "away"))
	got := o.Placements()
	if p := problem.From(got[0].Err); p.Code != "outcome_unknown" || p.Extra["purchase_id"] != nil {
		t.Errorf("the order whose key was used: %v with %v", p, p.Extra)
	}
	if got[1].Err != nil || got[1].Purchase.ID != id(2) {
		t.Errorf("the order that was committed: %+v", got[1])
	}
}

func TestAgainKeepsDraftsAndFindsItsOwn(t *testing.T) {
	t.Parallel()
	o := NewOrders([]Order{keyed(1, "k", 1), keyed(2, "k", 1), keyed(3, "", 1)}, roomy(), lenient())
	o.Known(nil)
	o.Decide(shelf)
	first := o.Drafts()
	o.Doubt()
	o.Again()
	if got := o.ProductIDs(); len(got) != 0 {
		t.Errorf("products %v would be read again", got)
	}
	o.Known([]Purchase{first[0]}) // the third, without a key, was committed; say the first was not
	o.Decide(nil)                 // and the product has been deleted since
	if got := o.Drafts(); len(got) != 1 || got[0] != first[1] {
		t.Errorf("drafts %v, want %v as it was", got, first[1])
	}
	o.Placed(o.Drafts())
	for i, p := range o.Placements() {
		if p.Err != nil || p.Replayed != (i == 1) {
			t.Errorf("order %d: %+v", i, p)
		}
	}
}

// A draft is the same purchase in every attempt, also if its product is gone by then.
func TestARetryDecidesUndecidedOrders(t *testing.T) {
	t.Parallel()
	o := NewOrders([]Order{keyed(1, "", 1), keyed(2, "k", 1)}, roomy(), lenient())
	o.Known([]Purchase{{ID: id(70), UserID: 5, ProductID: 1, BillID: 1, Key: "k"}})
	o.Decide(shelf)
	if got := drafted(o); !slices.Equal(got, []uuid.UUID{id(1)}) || !o.Missing() {
		t.Fatalf("drafts %v, missing %v", got, o.Missing())
	}
	o.Doubt()
	o.Again()
	o.Known(nil) // the repeat's purchase was lost with its server
	o.Decide(map[int64]Product{2: shelf[2]})
	if got := drafted(o); !slices.Equal(got, []uuid.UUID{id(1)}) {
		t.Errorf("drafts %v after the product was deleted, want the one of before", got)
	}
	if got := code(o.Placements()[1].Err); got != "product_not_found" {
		t.Errorf("the order that is no repeat any more: %q", got)
	}
}

func TestFail(t *testing.T) {
	t.Parallel()
	away := problem.New(problem.Unavailable, "unavailable", "unreachable")
	for _, doubt := range []bool{false, true} {
		o := NewOrders([]Order{keyed(1, "k", 1), keyed(2, "k", 1), keyed(3, "", 9), keyed(4, "", 1)}, roomy(), lenient())
		o.Known(nil)
		o.Decide(shelf)
		want := []string{"outcome_unknown", "outcome_unknown", "product_not_found", "unavailable"} // with a key, an earlier order may have bought something
		if doubt {
			o.Doubt()
			want = []string{"outcome_unknown", "outcome_unknown", "product_not_found", "outcome_unknown"}
		}
		o.Fail(away)
		got := o.Placements()
		for i := range want {
			if code(got[i].Err) != want[i] {
				t.Errorf("doubt %v, order %d: %v, want %s", doubt, i, got[i].Err, want[i])
			}
		}
		if doubt && problem.From(got[1].Err).Extra["purchase_id"] != id(1) {
			t.Errorf("the error of a joined order has %v", problem.From(got[1].Err).Extra)
		}
		if doubt && !errors.Is(got[3].Err, away) {
			t.Error("the cause is lost")
		}
	}
}

func TestSplitDecidesEachAlone(t *testing.T) {
	t.Parallel()
	o := NewOrders([]Order{keyed(1, "k", 1), keyed(2, "k", 1), keyed(3, "", 9), keyed(4, "", 1)}, roomy(), lenient())
	o.Known(nil)
	o.Decide(shelf)
	alone := o.Split()
	if len(alone) != 3 { // the third is already refused
		t.Fatalf("%d groups of one order, want 3", len(alone))
	}
	bad := errors.New("refused by the database")
	alone[0].Fail(bad)
	for _, a := range alone[1:] {
		a.Known(nil)
		a.Decide(shelf)
		a.Placed(a.Drafts())
	}
	got := o.Placements()
	if !errors.Is(got[0].Err, bad) || got[1].Err != nil || got[1].Replayed || code(got[2].Err) != "product_not_found" || got[3].Err != nil {
		t.Errorf("%+v", got)
	}
}

func TestRoomCountsTheGroupItself(t *testing.T) {
	t.Parallel()
	o := NewOrders([]Order{keyed(1, "a", 1), keyed(2, "b", 1), keyed(3, "a", 1), keyed(4, "c", 1)}, NewBacklog(Limits{Pending: 100, PendingPerUser: 2}), lenient())
	o.Known(nil)
	o.Decide(shelf)
	o.Placed(o.Drafts())
	for i, want := range []string{"", "", "", "overloaded"} {
		if got := code(o.Placements()[i].Err); got != want {
			t.Errorf("order %d: %q, want %q", i, got, want)
		}
	}
}

func TestRoomCountsAllUsersOfTheGroup(t *testing.T) {
	t.Parallel()
	other := keyed(2, "", 1)
	other.UserID = 6
	o := NewOrders([]Order{keyed(1, "", 1), other, keyed(3, "", 1)}, NewBacklog(Limits{Pending: 2, PendingPerUser: 100}), lenient())
	o.Known(nil)
	o.Decide(shelf)
	o.Placed(o.Drafts())
	for i, want := range []string{"", "", "overloaded"} {
		if got := code(o.Placements()[i].Err); got != want {
			t.Errorf("order %d: %q, want %q", i, got, want)
		}
	}
}

func TestAPriceChangeAffectsOneOrderOfAGroup(t *testing.T) {
	t.Parallel()
	wrong := keyed(1, "", 1)
	wrong.ExpectedPrice = new(money.Amount(1))
	o := NewOrders([]Order{wrong, keyed(2, "", 1)}, roomy(), lenient())
	o.Decide(shelf)
	if got := drafted(o); !slices.Equal(got, []uuid.UUID{id(2)}) {
		t.Errorf("drafts %v", got)
	}
}
