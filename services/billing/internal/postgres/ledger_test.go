package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
	"lavka/libs/testkit/waittest"
	"lavka/services/billing/internal/billing"
)

func TestAGroupIsDecidedInOrderOfArrival(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buy := purchase(1, 10, 400)
	late := purchase(1, 10, 1)
	late.Charge.ExpiresAt = time.Now().Add(-time.Hour)
	r := s.Settle(t.Context(), []billing.Item{
		purchase(1, 10, 400), // there is no such bill yet... but a payment in this group makes it
		payment(1, 1, 10, 1000),
		buy, buy,
		payment(1, 1, 10, 1000),
		payment(1, 1, 10, 999),
		purchase(2, 10, 1),
		purchase(1, 77, 1),
		late,
		payment(2, 404, 11, 5),
		payment(3, 2, 10, 5),
		payment(4, 1, 10, money.Max),
		purchase(9, 10, 1),
		payment(5, 9, 12, 100),
		purchase(9, 12, 1),
	})
	want := []string{
		"insufficient_funds", "credited", "settled", "settled again", "credited again", "transaction_conflict", "bill_not_found",
		"bill_not_found", "expired", "user_not_found", "bill_owner_mismatch", "balance_limit", "bill_not_found", "credited", "buyer_disabled",
	}
	for i := range want {
		if got := outcome(r[i]); got != want[i] {
			t.Errorf("item %d: %s, want %s", i, got, want[i])
		}
	}
	if b := s.balance(t, 10); b != 600 {
		t.Errorf("bill 10 holds %s", b)
	}
	if n := s.count(t, "billing.bills"); n != 2 {
		t.Errorf("there are %d bills, want 10 and 12 only", n)
	}
	again := s.Settle(t.Context(), []billing.Item{buy, payment(1, 1, 10, 1000), late})
	if outcome(again[0]) != "settled again" || *again[0].Charge.Balance != 600 || *again[0].Charge.TransactionID != *r[2].Charge.TransactionID ||
		outcome(again[1]) != "credited again" || outcome(again[2]) != "expired again" {
		t.Errorf("asked again: %s %s %s", outcome(again[0]), outcome(again[1]), outcome(again[2]))
	}
	s.verify(t)
}

func TestARefusedPaymentMakesNoBill(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 5)})
	r := s.Settle(t.Context(), []billing.Item{payment(1, 1, 11, 5), payment(2, 404, 12, 5)})
	if outcome(r[0]) != "transaction_conflict" || outcome(r[1]) != "user_not_found" {
		t.Errorf("%s, %s", outcome(r[0]), outcome(r[1]))
	}
	if n := s.count(t, "billing.bills"); n != 1 {
		t.Errorf("there are %d bills, want 1", n)
	}
}

func TestTwoReplicasSettleTheSameThings(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	other, _ := s.open(t, s.db.URL("billing"))
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 10_000), payment(2, 2, 20, 10_000), payment(3, 3, 30, 10_000)})
	var items []billing.Item
	for i := range 400 {
		user := int64(i%3 + 1)
		items = append(items, purchase(user, user*10, 100))
		items = append(items, payment(int64(1000+i%50), user, user*10, money.Amount(i%50%3+1)))
	}
	var all sync.WaitGroup
	var answers sync.Map
	for r, store := range []interface {
		Settle(context.Context, []billing.Item) []billing.Result
	}{s.Store, other} {
		for worker := range 2 {
			all.Go(func() {
				random := rand.New(rand.NewPCG(uint64(r), uint64(worker)))
				mine := append([]billing.Item(nil), items...)
				random.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
				for len(mine) > 0 {
					n := min(len(mine), 1+random.IntN(60))
					for i, result := range store.Settle(t.Context(), mine[:n]) {
						if result.Err != nil || result.Poison != nil {
							t.Errorf("%+v", result)
						}
						if c := result.Charge; c != nil {
							if first, asked := answers.LoadOrStore(mine[i].Charge.PurchaseID, c.Outcome); asked && first != c.Outcome {
								t.Errorf("purchase %s: first %s, then %s", c.PurchaseID, first, c.Outcome)
							}
						}
					}
					mine = mine[n:]
				}
			})
		}
	}
	all.Wait()
	if n := s.count(t, "billing.charges"); n > 400 {
		t.Errorf("%d charges of 400 purchases", n)
	}
	s.verify(t)
}

// However small the tables are when a group's statements are planned, rows are
// found by their keys: tables grow.
func TestGroupsNeverReadAWholeTable(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 1000), purchase(1, 10, 1)})
	s.exec(t, `ANALYZE billing.bills, billing.customers, billing.transactions, billing.charges`)
	read := func() (indexes, tables int) {
		t.Helper()
		if err := s.admin.QueryRow(t.Context(), `SELECT sum(idx_scan), sum(seq_scan) FROM pg_stat_user_tables WHERE relname IN ('bills', 'customers', 'transactions', 'charges')`).Scan(&indexes, &tables); err != nil {
			t.Fatal(err)
		}
		return indexes, tables
	}
	// Postgres counts what a session did once a second.
	const enough = 10 * 5 // by bill twice, purchase, payment and customer, more often than plans are tried
	begin, before := read()
	id := int64(1)
	waittest.Eventually(t, "indexes were read often enough", func() bool {
		id++
		for i, r := range s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 1000), payment(id, 1, id, 1000), purchase(1, 10, 1)}) {
			if r.Err != nil {
				t.Fatalf("item %d: %v", i, r.Err)
			}
		}
		indexes, tables := read()
		if tables != before {
			t.Fatalf("%d tables were read as a whole", tables-before)
		}
		return indexes-begin >= enough
	})
	s.verify(t)
}

func TestABillThatIsHeldHoldsNobodyElse(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 1000), payment(2, 2, 20, 1000)})
	frozen, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Rollback(t.Context())
	if _, err := frozen.Exec(t.Context(), `SELECT FROM billing.bills WHERE id = 10 FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	on10, on20, on30 := purchase(1, 10, 1), purchase(2, 20, 1), purchase(3, 30, 1)
	r := s.Settle(t.Context(), []billing.Item{on10, payment(1, 1, 10, 1000), on20, on30})
	if !r[0].Held || !r[1].Held || outcome(r[2]) != "settled" || outcome(r[3]) != "bill_not_found" {
		t.Errorf("%+v", r)
	}
	if err := frozen.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := s.Settle(t.Context(), []billing.Item{on10, payment(1, 1, 10, 1000)}); outcome(r[0]) != "settled" || outcome(r[1]) != "credited again" {
		t.Errorf("after it was let go: %s, %s", outcome(r[0]), outcome(r[1]))
	}
	s.verify(t)
}

// Another replica has made a bill and not committed: whoever needs that bill
// waits for it, and nobody else does.
func TestABillThatIsBeingMadeHoldsNobodyElse(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 1000)})
	frozen, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Rollback(t.Context())
	if _, err := frozen.Exec(t.Context(), `INSERT INTO billing.bills (id, user_id) VALUES (50, 2)`); err != nil {
		t.Fatal(err)
	}
	r := s.Settle(t.Context(), []billing.Item{payment(2, 2, 50, 5), purchase(1, 10, 1), purchase(1, 404, 1), payment(3, 1, 10, 5)})
	if !r[0].Held || outcome(r[1]) != "settled" || outcome(r[2]) != "bill_not_found" || outcome(r[3]) != "credited" {
		t.Errorf("%s %s %s %s", outcome(r[0]), outcome(r[1]), outcome(r[2]), outcome(r[3]))
	}
	if err := frozen.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := s.Settle(t.Context(), []billing.Item{payment(2, 2, 50, 5)}); outcome(r[0]) != "credited" {
		t.Errorf("when it is there: %s", outcome(r[0]))
	}
	s.verify(t)
}

// One item of a hundred that the database itself refuses must not cost its
// neighbours anything. The constraint stands for whatever a later release,
// an operator or a bug may bring.
func TestAPoisonousItemFailsAlone(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 100_000)})
	s.exec(t, `ALTER TABLE billing.transactions ADD CONSTRAINT poison CHECK (abs(amount) <> 666)`)
	items := make([]billing.Item, 100)
	for i := range items {
		items[i] = purchase(1, 10, 10)
	}
	items[17] = purchase(1, 10, 666)
	items[42] = payment(42, 1, 10, 666)
	items[50] = purchase(1, 404, 1)
	items[51] = payment(51, 404, 10, 1)
	items[52] = payment(52, 1, 10, money.Max)
	items[53] = items[0]
	items[54] = payment(1, 1, 10, 1)
	s.Settle(t.Context(), []billing.Item{payment(2, 2, 20, 100)})
	frozen, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Rollback(t.Context())
	if _, err := frozen.Exec(t.Context(), `SELECT FROM billing.bills WHERE id = 20 FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	items[56] = purchase(2, 20, 1)
	items[57] = payment(57, 2, 20, 1)
	items[55] = billing.Item{Charge: &billing.ChargeRequest{PurchaseID: uuid.New(), Unreadable: true, ExpiresAt: time.Now().Add(time.Hour)}}
	special := map[int]string{
		17: "poison", 42: "poison", 50: "bill_not_found", 51: "user_not_found", 52: "balance_limit",
		53: "settled again", 54: "transaction_conflict", 55: "undecided", 56: "held", 57: "held",
	}
	for i, r := range s.Settle(t.Context(), items) {
		want := special[i]
		if want == "" {
			want = "settled"
		}
		if got := outcome(r); got != want {
			t.Errorf("item %d: %s, want %s", i, got, want)
		}
	}
	if b := s.balance(t, 10); b != 100_000-90*10 {
		t.Errorf("the bill holds %d, want what 90 purchases leave", b)
	}
	if r := s.Settle(t.Context(), []billing.Item{payment(60, 3, 60, 666)}); outcome(r[0]) != "poison" {
		t.Errorf("alone, on a bill that it would make: %s", outcome(r[0]))
	}
	s.verify(t)
}

func TestTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.pool.Close()
	for _, r := range s.Settle(t.Context(), []billing.Item{purchase(1, 10, 1), payment(1, 1, 10, 1)}) {
		if r.Err == nil {
			t.Errorf("%+v", r)
		}
	}
}

// outcome names what became of an item.
func outcome(r billing.Result) string {
	again := ""
	if r.Repeat {
		again = " again"
	}
	switch {
	case r.Charge != nil:
		return string(r.Charge.Outcome) + again
	case r.Credited:
		return "credited" + again
	case r.Refusal != nil:
		return r.Refusal.Code
	case r.Held:
		return "held"
	case r.Undecided:
		return "undecided"
	case r.Poison != nil:
		return "poison"
	}
	return fmt.Sprint("error: ", r.Err)
}
