package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"lavka/libs/domain/filter"
	"lavka/services/billing/internal/billing"
	"lavka/services/billing/internal/postgres"
)

// The times of rows differ from the order of their ids by less than the margin, and ids
// have gaps. Each list shows exactly the rows of a time, newest first, in pages of any
// size.
func TestRowsOfATime(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	const n = 600
	// Three bills of two users. After row 300 all ids are higher by a billion, as after a restore.
	s.exec(t, `
		INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, payment_id, purchase_id, created_at)
		SELECT n + CASE WHEN n > $1 / 2 THEN 1000000000 ELSE 0 END, 10 + n % 3, 1 + (n % 3) / 2, CASE WHEN n % 5 = 0 THEN 5 ELSE -5 END, 5, CASE WHEN n % 5 = 0 THEN n END, CASE WHEN n % 5 > 0 THEN gen_random_uuid() END,
			'2026-11-01'::timestamptz + n * interval '1 second' + hashint4(n) % 29 * interval '1 second'
		FROM generate_series(1, $1::int) n`, n)
	s.exec(t, `INSERT INTO billing.bills (id, user_id) VALUES (10, 1), (11, 1), (12, 2)`)
	s.exec(t, `INSERT INTO billing.charges (purchase_id, user_id, bill_id, amount, outcome, balance, transaction_id)
		SELECT purchase_id, user_id, bill_id, 5, 'settled', 5, id FROM billing.transactions WHERE purchase_id IS NOT NULL
		UNION ALL SELECT gen_random_uuid(), 1, 10, 5, 'insufficient_funds', 1, NULL FROM generate_series(1, 50)`)
	s.exec(t, `INSERT INTO billing.reversals (id, reversal_id, payment_id, bill_id, user_id, total, due, debited, shortfall, decided_at)
		SELECT id, id, coalesce(payment_id, 0), bill_id, user_id, 1, 1, 1 - id % 2, id % 2, created_at FROM billing.transactions`)
	all, err := s.Ledger(t.Context(), billing.LedgerFilter{Limit: n})
	if err != nil || len(all) != n {
		t.Fatalf("%d rows: %v", len(all), err)
	}
	decisions, err := s.Reversals(t.Context(), billing.ReversalFilter{Limit: n})
	if err != nil || len(decisions) != n {
		t.Fatalf("%d reversals: %v", len(decisions), err)
	}
	type rows struct {
		what string
		read func(context.Context, filter.Range, *int64, int) ([]int64, error)
		has  func(billing.Transaction) bool
	}
	transactions := func(found []billing.Transaction, err error) (ids []int64, _ error) {
		for _, t := range found {
			ids = append(ids, t.ID)
		}
		return ids, err
	}
	own := func(what string, f billing.TransactionFilter, has func(billing.Transaction) bool) rows {
		return rows{what, func(ctx context.Context, r filter.Range, before *int64, limit int) ([]int64, error) {
			f.When, f.Before, f.Limit = r, before, limit
			return transactions(s.Transactions(ctx, f))
		}, has}
	}
	ledger := func(what string, f billing.LedgerFilter, has func(billing.Transaction) bool) rows {
		return rows{"ledger, " + what, func(ctx context.Context, r filter.Range, before *int64, limit int) ([]int64, error) {
			f.When, f.Before, f.Limit = r, before, limit
			return transactions(s.Ledger(ctx, f))
		}, has}
	}
	reversals := func(what string, f billing.ReversalFilter, has func(billing.Transaction) bool) rows {
		return rows{"reversals, " + what, func(ctx context.Context, r filter.Range, before *int64, limit int) (ids []int64, _ error) {
			f.When, f.Before, f.Limit = r, before, limit
			found, err := s.Reversals(ctx, f)
			for _, d := range found {
				ids = append(ids, d.ID)
			}
			return ids, err
		}, has}
	}
	const payments = "ledger, payments"
	created := map[int64]time.Time{}
	for _, t := range all {
		created[t.ID] = t.CreatedAt
	}
	ofUser := func(t billing.Transaction) bool { return t.UserID == 1 }
	ofBill := func(t billing.Transaction) bool { return t.BillID == 11 }
	every := func(billing.Transaction) bool { return true }
	lists := []rows{
		own("user", billing.TransactionFilter{UserID: 1}, ofUser),
		own("user's payments", billing.TransactionFilter{UserID: 1, Type: billing.TypePayment}, func(t billing.Transaction) bool { return ofUser(t) && t.PaymentID != nil }),
		own("bill", billing.TransactionFilter{UserID: 1, BillID: new(int64(11))}, ofBill),
		own("another's bill", billing.TransactionFilter{UserID: 2, BillID: new(int64(11))}, func(billing.Transaction) bool { return false }),
		ledger("all", billing.LedgerFilter{}, every),
		ledger("user", billing.LedgerFilter{UserID: new(int64(1))}, ofUser),
		ledger("bill", billing.LedgerFilter{BillID: new(int64(11))}, ofBill),
		ledger("payment", billing.LedgerFilter{PaymentID: new(int64(100))}, func(t billing.Transaction) bool { return t.PaymentID != nil && *t.PaymentID == 100 }),
		ledger("payments", billing.LedgerFilter{Type: billing.TypePayment}, func(t billing.Transaction) bool { return t.PaymentID != nil }),
		ledger("purchases", billing.LedgerFilter{Type: billing.TypePurchase}, func(t billing.Transaction) bool { return t.PurchaseID != nil }),
		reversals("all", billing.ReversalFilter{}, every),
		reversals("user", billing.ReversalFilter{UserID: new(int64(1))}, ofUser),
		reversals("bill", billing.ReversalFilter{BillID: new(int64(11))}, ofBill),
		reversals("payment", billing.ReversalFilter{PaymentID: new(int64(100))}, func(t billing.Transaction) bool { return t.PaymentID != nil && *t.PaymentID == 100 }),
		reversals("short", billing.ReversalFilter{Short: true}, func(t billing.Transaction) bool { return t.ID%2 == 1 }),
	}
	random := rand.New(rand.NewPCG(1, 2))
	at := func(second int) *time.Time { return new(all[n-1].CreatedAt.Add(time.Duration(second) * time.Second)) }
	for range 12 {
		from := random.IntN(n+100) - 50
		for _, r := range []filter.Range{{}, {From: at(from)}, {To: at(from)}, {From: at(from), To: at(from + 1 + random.IntN(40))}, {From: at(from), To: at(from + 200)}} {
			for _, l := range lists {
				var want []int64
				for _, t := range all {
					if l.has(t) && (r.From == nil || !t.CreatedAt.Before(*r.From)) && (r.To == nil || t.CreatedAt.Before(*r.To)) {
						want = append(want, t.ID)
					}
				}
				if l.what == payments { // the only list in the order of time
					slices.SortStableFunc(want, func(a, b int64) int { return created[b].Compare(created[a]) })
				}
				limit := 1 + random.IntN(150)
				var got []int64
				for before := (*int64)(nil); ; {
					page, err := l.read(t.Context(), r, before, limit)
					if err != nil {
						t.Fatal(err)
					}
					if got = append(got, page...); len(page) < limit {
						break
					}
					before = &page[len(page)-1]
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s from %v to %v in pages of %d: %d rows, want %d", l.what, r.From, r.To, limit, len(got), len(want))
				}
			}
		}
	}
}

// Each row is of one of the kinds that lists are merged from.
func TestKinds(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	var constraint string
	if err := s.admin.QueryRow(t.Context(), `SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'transactions_one_id'`).Scan(&constraint); err != nil {
		t.Fatal(err)
	}
	var columns []string
	for _, kind := range postgres.Kinds {
		column, _, _ := strings.Cut(kind, " ")
		columns = append(columns, column)
	}
	_, ids, _ := strings.Cut(constraint, "num_nonnulls(")
	ids, _, _ = strings.Cut(ids, ")")
	want := strings.Split(ids, ", ")
	slices.Sort(columns)
	slices.Sort(want)
	if !slices.Equal(columns, want) {
		t.Errorf("lists are merged from the rows with one of %v, and the table has rows with one of %v", columns, want)
	}
}

// A bill's balance at any time is that after its last transaction until then.
func TestBalanceAtATime(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	if b, err := s.BalanceAt(t.Context(), 10, time.Now()); err != nil || b.Amount != 0 || b.TransactionID != nil {
		t.Errorf("without transactions: %+v, %v", b, err)
	}
	s.exec(t, `
		INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, payment_id, created_at)
		SELECT n, CASE WHEN n % 7 = 0 THEN 10 ELSE 11 END, 1, 1, n, n, '2026-11-01'::timestamptz + n * interval '1 second' FROM generate_series(1, 700) n`)
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for second := range 720 {
		for what, c := range map[string]struct {
			off  time.Duration
			last int // second of the last transaction that counts
		}{"the time of a row": {0, second}, "just before": {-1, second - 1}, "a microsecond before": {-time.Microsecond, second - 1}, "just after": {999, second}} {
			want := "0 of none"
			if last := min(c.last, 700) / 7 * 7; last > 0 {
				want = fmt.Sprintf("%d of %d", last, last)
			}
			b, err := s.BalanceAt(t.Context(), 10, begin.Add(time.Duration(second)*time.Second+c.off))
			got := "0 of none"
			if b.TransactionID != nil {
				got = fmt.Sprintf("%d of %d", int64(b.Amount), *b.TransactionID)
			}
			if err != nil || got != want {
				t.Errorf("%s, second %d: %s, want %s; %v", what, second, got, want, err)
			}
		}
	}
}
