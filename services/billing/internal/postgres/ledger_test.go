package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/domain/money"
	"lavka/libs/testkit/waittest"
	"lavka/services/billing/internal/billing"
)

func TestAGroupIsDecidedInOrderOfArrival(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	buy := purchase(1, 10, 400)
	late := purchase(1, 10, 1)
	late.ExpiresAt = time.Now().Add(-time.Hour)
	r := s.Settle(t.Context(), []billing.Item{
		purchase(1, 10, 400), // the bill does not exist yet, but a payment in this group creates it
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
		t.Errorf("the balance of bill 10 is %s", b)
	}
	if n := s.count(t, "billing.bills"); n != 2 {
		t.Errorf("there are %d bills, want only 10 and 12", n)
	}
	again := s.Settle(t.Context(), []billing.Item{buy, payment(1, 1, 10, 1000), late})
	if outcome(again[0]) != "settled again" || *charge(again[0]).Balance != 600 || *charge(again[0]).TransactionID != *charge(r[2]).TransactionID ||
		outcome(again[1]) != "credited again" || outcome(again[2]) != "expired again" {
		t.Errorf("the repeats: %s, %s, %s", outcome(again[0]), outcome(again[1]), outcome(again[2]))
	}
	s.verify(t)
}

func TestARefusedPaymentCreatesNoBill(t *testing.T) {
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
						switch result.(type) {
						case billing.Failed, billing.Poisoned:
							t.Errorf("%+v", result)
						}
						if c := charge(result); c != nil {
							if first, asked := answers.LoadOrStore(mine[i].(*billing.ChargeRequest).PurchaseID, c.Outcome); asked && first != c.Outcome {
								t.Errorf("purchase %s: first %s, then %s", c.Request.PurchaseID, first, c.Outcome)
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

// Even if the tables are small when a group's statements are planned, rows must be
// found through an index: tables grow.
func TestGroupsNeverScanAWholeTable(t *testing.T) {
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
	// A session reports its counters to Postgres once a second.
	const enough = 10 * 5 // bill twice, purchase, payment and customer, more often than custom plans are tried
	begin, before := read()
	id := int64(1)
	waittest.Eventually(t, "the indexes were scanned often enough", func() bool {
		id++
		for i, r := range s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 1000), payment(id, 1, id, 1000), purchase(1, 10, 1)}) {
			if failed, ok := r.(billing.Failed); ok {
				t.Fatalf("item %d: %v", i, failed.Err)
			}
		}
		indexes, tables := read()
		if tables != before {
			t.Fatalf("%d sequential scans", tables-before)
		}
		return indexes-begin >= enough
	})
	s.verify(t)
}

// frozen runs a statement in a transaction that stays open until the test ends it, or
// until the test's end. The server does not end it, however slow the test is.
func (s *shop) frozen(t *testing.T, sql string) pgx.Tx {
	t.Helper()
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }) // an error after Commit
	for _, statement := range []string{`SET LOCAL idle_in_transaction_session_timeout = 0`, sql} {
		if _, err := tx.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return tx
}

func TestALockedBillDelaysNoOtherBill(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 1000), payment(2, 2, 20, 1000)})
	frozen := s.frozen(t, `SELECT FROM billing.bills WHERE id = 10 FOR UPDATE`)
	on10, on20, on30 := purchase(1, 10, 1), purchase(2, 20, 1), purchase(3, 30, 1)
	r := s.Settle(t.Context(), []billing.Item{on10, payment(1, 1, 10, 1000), on20, on30})
	if outcome(r[0]) != "held" || outcome(r[1]) != "held" || outcome(r[2]) != "settled" || outcome(r[3]) != "bill_not_found" {
		t.Errorf("%+v", r)
	}
	if err := frozen.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := s.Settle(t.Context(), []billing.Item{on10, payment(1, 1, 10, 1000)}); outcome(r[0]) != "settled" || outcome(r[1]) != "credited again" {
		t.Errorf("after the lock was released: %s, %s", outcome(r[0]), outcome(r[1]))
	}
	s.verify(t)
}

// Another replica has created a bill and not committed. Only items on that bill
// wait for it.
func TestABillBeingCreatedDelaysNoOtherBill(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 1000)})
	frozen := s.frozen(t, `INSERT INTO billing.bills (id, user_id) VALUES (50, 2)`)
	r := s.Settle(t.Context(), []billing.Item{payment(2, 2, 50, 5), purchase(1, 10, 1), purchase(1, 404, 1), payment(3, 1, 10, 5)})
	if outcome(r[0]) != "held" || outcome(r[1]) != "settled" || outcome(r[2]) != "bill_not_found" || outcome(r[3]) != "credited" {
		t.Errorf("%s %s %s %s", outcome(r[0]), outcome(r[1]), outcome(r[2]), outcome(r[3]))
	}
	if err := frozen.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := s.Settle(t.Context(), []billing.Item{payment(2, 2, 50, 5)}); outcome(r[0]) != "credited" {
		t.Errorf("after the bill was committed: %s", outcome(r[0]))
	}
	s.verify(t)
}

// If the database refuses one item of a hundred, the others must not be affected.
// The constraint stands for anything that a later release, an operator or a bug
// may introduce.
func TestABadItemFailsAlone(t *testing.T) {
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
	s.frozen(t, `SELECT FROM billing.bills WHERE id = 20 FOR UPDATE`)
	items[56] = purchase(2, 20, 1)
	items[57] = payment(57, 2, 20, 1)
	items[55] = &billing.ChargeRequest{PurchaseID: uuid.New(), Unreadable: true, ExpiresAt: time.Now().Add(time.Hour)}
	special := map[int]string{
		17: "poisoned", 42: "poisoned", 50: "bill_not_found", 51: "user_not_found", 52: "balance_limit",
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
		t.Errorf("the balance is %d, want the rest after 90 purchases", b)
	}
	if r := s.Settle(t.Context(), []billing.Item{payment(60, 3, 60, 666)}); outcome(r[0]) != "poisoned" {
		t.Errorf("alone, on a bill that it would create: %s", outcome(r[0]))
	}
	s.verify(t)
}

// A payment loses its session twice, and then a race against a payment with the same id
// on another bill. It is a conflict, and no bad data.
func TestARaceIsLostAfterSessions(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	store, _ := s.open(t, s.db.URL("billing")+"&lock_timeout=0")
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 100), payment(2, 2, 20, 100)})
	bill := s.frozen(t, `SELECT FROM billing.bills WHERE id = 20 FOR UPDATE`)
	other := s.frozen(t, `
		WITH bill AS (UPDATE billing.bills SET balance = balance + 5 WHERE id = 10 RETURNING balance)
		INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, payment_id)
		SELECT nextval('billing.transaction_ids'), 10, 1, 5, balance, 3 FROM bill`)
	settled := make(chan billing.Result, 1)
	go func() { settled <- store.Settle(t.Context(), []billing.Item{payment(3, 2, 20, 5)})[0] }()
	var last int // the session whose transaction waits
	waits := func() bool {
		var pid int
		err := s.admin.QueryRow(t.Context(), `SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> $1`, last).Scan(&pid)
		if err != nil {
			t.Fatal(err)
		}
		if pid != 0 {
			last = pid
		}
		return pid != 0
	}
	for range 2 {
		waittest.Eventually(t, "the payment waits for its bill", waits)
		s.exec(t, `SELECT pg_terminate_backend($1, 5000)`, last)
	}
	waittest.Eventually(t, "the payment waits for its bill, for the last time", waits)
	if err := bill.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "the payment waits for the one with its id", func() bool {
		return s.count(t, "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'transactionid' AND query LIKE '%INSERT INTO billing.transactions%'") == 1
	})
	if err := other.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := outcome(<-settled); got != "transaction_conflict" {
		t.Errorf("%s, want transaction_conflict", got)
	}
	s.verify(t)
}

func TestTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.pool.Close()
	for _, r := range s.Settle(t.Context(), []billing.Item{purchase(1, 10, 1), payment(1, 1, 10, 1)}) {
		if _, failed := r.(billing.Failed); !failed {
			t.Errorf("%+v", r)
		}
	}
}

// outcome names the result of an item.
func outcome(r billing.Result) string {
	switch r := r.(type) {
	case billing.Decided:
		return string(r.Charge.Outcome)
	case billing.DecidedBefore:
		return string(r.Charge.Outcome) + " again"
	case billing.Credited:
		return "credited"
	case billing.CreditedBefore:
		return "credited again"
	case billing.Reversed:
		return "reversed"
	case billing.ReversedBefore:
		return "reversed again"
	case billing.RefundDecided:
		return string(r.Decision.Outcome)
	case billing.RefundDecidedBefore:
		return string(r.Decision.Outcome) + " again"
	case billing.Refused:
		return r.Problem.Code
	case billing.Held:
		return "held"
	case billing.Undecided:
		return "undecided"
	case billing.Poisoned:
		return "poisoned"
	case billing.Failed:
		return fmt.Sprint("failed: ", r.Err)
	default:
		return fmt.Sprintf("unknown result %T", r)
	}
}

// charge returns the decision in a result, nil if there is none.
func charge(r billing.Result) *billing.Charge {
	switch r := r.(type) {
	case billing.Decided:
		return r.Charge
	case billing.DecidedBefore:
		return r.Charge
	}
	return nil
}
