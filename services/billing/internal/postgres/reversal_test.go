package postgres_test

import (
	"math/rand/v2"
	"sync"
	"testing"

	"lavka/libs/domain/money"
	"lavka/libs/service/pg"
	"lavka/services/billing/internal/billing"
	"lavka/services/billing/internal/postgres"
)

// reverse settles one reversal, after the unlocked read of its payment.
func (s *shop) reverse(t *testing.T, store *postgres.Store, id, payment int64, total money.Amount) billing.Result {
	t.Helper()
	paid, err := store.FindPayment(t.Context(), payment)
	if err != nil {
		t.Fatal(err)
	}
	return store.Settle(t.Context(), []billing.Item{&billing.Reversal{ID: id, PaymentID: payment, Total: total, TotalText: total.String(), Payment: paid}})[0]
}

// Reversals of one payment, in the order of the table.
func TestReversals(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	steps := []struct {
		name               string
		before             []billing.Item
		id, payment        int64
		total              money.Amount
		want               string
		debited, shortfall money.Amount
		balance            money.Amount
	}{
		{"before the payment", nil, 1, 7, 100, "payment_not_found", 0, 0, 0},
		{"the payment has arrived", []billing.Item{payment(7, 1, 10, 1000)}, 1, 7, 100, "reversed", 100, 0, 900},
		{"repeated", nil, 1, 7, 100, "reversed again", 100, 0, 900},
		{"cumulative", nil, 2, 7, 300, "reversed", 200, 0, 700},
		{"out of order: a lower total", nil, 3, 7, 200, "reversed", 0, 0, 700},
		{"the lower one, repeated", nil, 3, 7, 200, "reversed again", 0, 0, 700},
		{"another total under the id", nil, 2, 7, 301, "transaction_conflict", 0, 0, 700},
		{"another payment under the id", []billing.Item{payment(8, 1, 10, 50)}, 2, 8, 50, "transaction_conflict", 0, 0, 750},
		{"an unknown payment under the id", nil, 2, 404, 300, "transaction_conflict", 0, 0, 750},
		{"more than was paid", nil, 4, 7, 1001, "reversal_exceeds", 0, 0, 750},
		{"some of it is spent", []billing.Item{purchase(1, 10, 700)}, 5, 7, 400, "reversed", 50, 50, 0},
		{"all of it is spent", nil, 6, 7, 1000, "reversed", 0, 600, 0},
		{"nothing repays by itself", []billing.Item{payment(9, 1, 10, 5000)}, 6, 7, 1000, "reversed again", 0, 600, 5000},
		{"the whole payment is reversed", nil, 10, 7, 1000, "reversed", 0, 0, 5000},
	}
	for _, c := range steps {
		s.Settle(t.Context(), c.before)
		r := s.reverse(t, s.Store, c.id, c.payment, c.total)
		if got := outcome(r); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if d := decision(r); d != nil && (d.Debited != c.debited || d.Shortfall != c.shortfall) {
			t.Errorf("%s: %+v", c.name, d)
		}
		if s.count(t, "billing.bills") > 0 {
			if b := s.balance(t, 10); b != c.balance {
				t.Errorf("%s: the balance is %s, want %s", c.name, b, c.balance)
			}
		}
		s.verify(t)
	}
	if n := s.count(t, "billing.reversals"); n != 6 {
		t.Errorf("%d reversals are stored, want the 6 that were decided", n)
	}
	for short, want := range map[bool][]int64{false: {10, 6, 5, 3, 2, 1}, true: {6, 5}} {
		all, err := s.Reversals(t.Context(), billing.ReversalFilter{Short: short, Limit: 20})
		if err != nil || len(all) != len(want) {
			t.Fatalf("short %v: %+v, %v", short, all, err)
		}
		for i, d := range all {
			if d.ReversalID != want[i] || d.UserID != 1 || d.BillID != 10 || d.DecidedAt.IsZero() {
				t.Errorf("short %v: %+v, want reversal %d", short, d, want[i])
			}
		}
		next, err := s.Reversals(t.Context(), billing.ReversalFilter{Short: short, Limit: 20, Before: &all[0].ID})
		if err != nil || len(next) != len(all)-1 || next[0] != all[1] {
			t.Errorf("short %v, the next page: %+v, %v", short, next, err)
		}
	}
	debits, err := s.Transactions(t.Context(), billing.TransactionFilter{UserID: 1, Type: billing.TypeReversal, Limit: 10})
	if err != nil || len(debits) != 3 || debits[0].Type != billing.TypeReversal || *debits[0].ReversalID != 5 || debits[0].Amount != -50 {
		t.Errorf("%+v, %v", debits, err)
	}
}

// Several in one group see each other.
func TestReversalsInOneGroup(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.Settle(t.Context(), []billing.Item{payment(7, 1, 10, 1000)})
	paid, err := s.FindPayment(t.Context(), 7)
	if err != nil || paid == nil {
		t.Fatal(err)
	}
	of := func(id int64, total money.Amount) *billing.Reversal {
		return &billing.Reversal{ID: id, PaymentID: 7, Total: total, Payment: paid}
	}
	r := s.Settle(t.Context(), []billing.Item{of(1, 400), purchase(1, 10, 500), of(1, 400), of(2, 300), of(3, 600), of(1, 401)})
	want := []string{"reversed", "settled", "reversed again", "reversed", "reversed", "transaction_conflict"}
	for i := range want {
		if got := outcome(r[i]); got != want[i] {
			t.Errorf("item %d: %s, want %s", i, got, want[i])
		}
	}
	if d := decision(r[4]); d.Debited != 100 || d.Shortfall != 100 {
		t.Errorf("%+v", d)
	}
	s.verify(t)
}

// Fifty reversals of one payment at once, in two replicas, beside purchases from its
// bill: what is debited is never more than the greatest total, and no bill goes below
// zero.
func TestFiftyReversalsAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	other, _ := s.open(t, s.db.URL("billing"))
	stores := []*postgres.Store{s.Store, other}
	s.Settle(t.Context(), []billing.Item{payment(7, 1, 10, 5000), payment(8, 1, 10, 1000)})
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			id, total := int64(i/2+1), money.Amount(i/2+1)*100 // each id twice: the second is a repeat
			for _, store := range stores {
				switch got := outcome(s.reverse(t, store, id, 7, total)); got {
				case "reversed", "reversed again", "held":
				default:
					t.Errorf("reversal %d: %s", id, got)
				}
			}
		})
		all.Go(func() {
			r := stores[i%2].Settle(t.Context(), []billing.Item{purchase(1, 10, money.Amount(1+rand.IntN(400)))})[0]
			switch got := outcome(r); got {
			case "settled", "insufficient_funds", "held":
			default:
				t.Errorf("a purchase: %s", got)
			}
		})
	}
	all.Wait()
	for i := range int64(25) { // those that found the bill locked
		if got := outcome(s.reverse(t, s.Store, i+1, 7, money.Amount(i+1)*100)); got != "reversed" && got != "reversed again" {
			t.Errorf("reversal %d: %s", i+1, got)
		}
	}
	var due money.Amount
	if err := s.admin.QueryRow(t.Context(), `SELECT sum(due)::bigint FROM billing.reversals`).Scan(&due); err != nil || due != 2500 {
		t.Errorf("%s are due in all, want 25: %v", due, err)
	}
	if n := s.count(t, "billing.reversals"); n != 25 {
		t.Errorf("%d reversals, want 25", n)
	}
	s.verify(t)
}

// Two payments of different bills under one id: the id decides, not the lock of a bill.
func TestOneReversalIDForTwoPayments(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	other, _ := s.open(t, s.db.URL("billing"))
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 500), payment(2, 2, 20, 500)})
	for round := range int64(20) {
		var results [2]billing.Result
		var all sync.WaitGroup
		for i, store := range []*postgres.Store{s.Store, other} {
			all.Go(func() { results[i] = s.reverse(t, store, 100+round, int64(i+1), money.Amount(round+1)) })
		}
		all.Wait()
		a, b := outcome(results[0]), outcome(results[1])
		if a+" "+b != "reversed transaction_conflict" && a+" "+b != "transaction_conflict reversed" {
			t.Errorf("round %d: %s, %s", round, a, b)
		}
	}
	s.verify(t)
}

func TestRefusedReversalsAreKept(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	early := billing.Reversal{ID: 3, PaymentID: 7, Total: 400, TotalText: "4"}
	for range 2 {
		if err := s.RecordRefusedReversal(t.Context(), early, "payment_not_found"); err != nil {
			t.Fatal(err)
		}
	}
	s.Settle(t.Context(), []billing.Item{payment(7, 1, 10, 1000)})
	if err := s.RecordRefusedReversal(t.Context(), billing.Reversal{ID: 4, PaymentID: 7, TotalText: "1e5", Payment: payment(7, 1, 10, 1000)}, "invalid_amount"); err != nil {
		t.Fatal(err)
	}
	// A payment of the same numbers is something else.
	if err := s.RecordRefused(t.Context(), billing.Payment{ID: 7, AmountText: "4"}, "invalid_id"); err != nil {
		t.Fatal(err)
	}
	for _, since := range []bool{false, true} {
		var all []billing.RefusedPayment
		err := s.RefusedPayments(t.Context(), func(r billing.RefusedPayment) error { all = append(all, r); return nil })
		if err != nil || len(all) != 3 {
			t.Fatalf("%+v, %v", all, err)
		}
		if r := all[0]; *r.ReversalID != 3 || r.PaymentID != 7 || r.BillID != 0 || r.UserID != 0 || r.Times != 2 || r.Amount != "4" || r.CreditedSince != since {
			t.Errorf("%+v, want credited since: %v", r, since)
		}
		if r := all[1]; *r.ReversalID != 4 || r.BillID != 10 || r.UserID != 1 || r.CreditedSince {
			t.Errorf("%+v", r)
		}
		if r := all[2]; r.ReversalID != nil {
			t.Errorf("%+v", r)
		}
		s.reverse(t, s.Store, 3, 7, 400)
	}
}

// The release before inserts as before, and the constraint refuses what is of no type.
func TestATransactionHasExactlyOneType(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 1000)})
	for values, allowed := range map[string]bool{
		`5, 1, NULL, NULL, NULL`:  false, // payment 1 again
		`5, 2, NULL, NULL, NULL`:  true,
		`-5, 3, NULL, NULL, NULL`: false,
		`-5, NULL, '00000000-0000-7000-8000-000000000001', NULL, NULL`: true,
		`5, NULL, '00000000-0000-7000-8000-000000000002', NULL, NULL`:  false,
		`5, NULL, NULL, '00000000-0000-7000-8000-000000000003', NULL`:  true,
		`-5, NULL, NULL, '00000000-0000-7000-8000-000000000004', NULL`: false,
		`-5, NULL, NULL, NULL, 5`:                                      true,
		`5, NULL, NULL, NULL, 6`:                                       false,
		`0, NULL, NULL, NULL, 7`:                                       false,
		`5, NULL, NULL, NULL, NULL`:                                    false,
		`-5, NULL, '00000000-0000-7000-8000-000000000005', NULL, 8`:    false,
		`5, 9, NULL, '00000000-0000-7000-8000-000000000006', NULL`:     false,
	} {
		_, err := s.pool.Exec(t.Context(), `INSERT INTO billing.transactions (id, bill_id, user_id, balance_after, amount, payment_id, purchase_id, refund_id, reversal_id)
			VALUES (nextval('billing.transaction_ids'), 10, 1, 5, `+values+`)`)
		if (err == nil) != allowed || err != nil && pg.Code(err) != "23514" && pg.Code(err) != "23505" {
			t.Errorf("%s: %v", values, err)
		}
	}
}

// decision is what was decided on a reversal, nil if nothing was.
func decision(r billing.Result) *billing.ReversalDecision {
	switch r := r.(type) {
	case billing.Reversed:
		return r.Decision
	case billing.ReversedBefore:
		return r.Decision
	}
	return nil
}
