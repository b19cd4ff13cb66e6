package postgres_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/filter"
	"lavka/libs/service/opened"
	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/services/billing/internal/billing"
	"lavka/services/billing/internal/postgres"
)

var rows = flag.Int("rows", 1_000_000, "rows that TestReadsAreFlat stores")

const busy = 500 // the user who owns half of the bills, and 6 of 10 transactions, all older than those of the others

// exempt are the methods of Store that TestReadsAreFlat does not call, and why.
var exempt = map[string]string{
	"SaveCustomer": "writes one row, by its key", "RecordRefused": "writes one row, by its key", "RecordRefusedReversal": "writes one row, by its key", "RecordRejected": "writes one row, by its key",
	"RefusedPayments": "an operator's command that prints all of them", "RejectedMessages": "an operator's command that prints all of them",
	"Verify": "an operator's command that reads the whole ledger", "ResumeVerify": "the same, after an interruption", "Books": "an operator's command that prints all charges", "RecordVerification": "writes one row",
	"Verified": "an operator's command; the newest row by its key", "Verifications": "runs in the background; the newest row by its key",
	"Compare": "an operator's command that reads all charges", "RecordComparison": "writes one row",
	"Compared": "an operator's command; the newest row by its key", "Comparisons": "runs in the background; the newest row by its key",
}

// What a request reads does not depend on how much is stored, by anyone, nor on the
// place in the list that its cursor claims: not with a plan for these values, and not
// with the plan that Postgres keeps for all values.
func TestReadsAreFlat(t *testing.T) {
	// Not parallel: it keeps the server busy, and the tests beside it have time limits.
	s := newShop(t)
	n := counts{transactions: *rows * 6 / 10, bills: *rows * 2 / 10, customers: *rows * 2 / 10}
	// Bill 1 has the busy user's first half of transactions: 500 payments and then only purchases. Bill 2 has the rest of that user's: 500
	// purchases and then only payments. Between the transactions of bill 4 are those of others.
	s.db.Fill(t, postgres.Schema, fmt.Sprintf(`
		INSERT INTO billing.customers (user_id, login, role, status, version)
		SELECT n, 'user' || n, 'user', 'active', 1 FROM generate_series(10, %d) n`, n.customers), fmt.Sprintf(`
		INSERT INTO billing.bills (id, user_id, balance)
		SELECT n, CASE WHEN n <= %[1]d / 2 THEN %[2]d ELSE 501 + n %% 1000 END, 1000 FROM generate_series(1, %[1]d) n`, n.bills, busy), fmt.Sprintf(`
		INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, payment_id, purchase_id)
		SELECT n, bill_id, user_id, CASE WHEN paid THEN 5 ELSE -5 END, 5, CASE WHEN paid THEN n END, CASE WHEN NOT paid THEN %[2]s END
		FROM generate_series(1, %[1]d::bigint) n,
			LATERAL (SELECT CASE WHEN n <= %[1]d * 3 / 10 THEN 1 WHEN n <= %[1]d * 6 / 10 THEN 2 WHEN n %% 2 = 0 THEN 4 ELSE %[4]d - n %% 500 END AS bill_id,
				CASE WHEN n <= %[1]d * 6 / 10 THEN %[3]d ELSE 501 + n %% 500 END AS user_id,
				CASE WHEN n <= %[1]d * 3 / 10 THEN n <= 500 ELSE n > %[1]d * 3 / 10 + 500 END AS paid) kind`, n.transactions, idSQL, busy, n.bills), fmt.Sprintf(`
		INSERT INTO billing.charges (purchase_id, user_id, bill_id, amount, outcome, balance, transaction_id)
		SELECT %[2]s, %[3]d, 1, 5, 'settled', 5, n FROM generate_series(501, %[1]d::bigint * 3 / 10) n`, n.transactions, idSQL, busy), fmt.Sprintf(`
		INSERT INTO billing.reversals (id, reversal_id, payment_id, bill_id, user_id, total, due, debited, shortfall)
		SELECT n, n, CASE WHEN n %% 2 = 0 THEN 1 ELSE n END, 1, %[2]d, 5, short, 0, short
		FROM generate_series(1, %[1]d * 2 / 10) n, LATERAL (SELECT CASE WHEN n <= 500 THEN 5 ELSE 0 END AS short) s`, n.transactions, busy), fmt.Sprintf(`
		INSERT INTO billing.refunds (id, refund_id, purchase_id, user_id, bill_id, amount, force, outcome, refunded_after, refundable)
		SELECT 10 * %[1]d + m, gen_random_uuid(), %[2]s, %[3]d, 1, 6, false, 'refund_exceeds', 5 * (m %% 2), 5 - 5 * (m %% 2)
		FROM generate_series(1, %[1]d * 1 / 10) m, LATERAL (SELECT CASE WHEN m %% 2 = 0 THEN 2000 ELSE m END AS n) purchase`, n.transactions, idSQL, busy), fmt.Sprintf(`
		SELECT setval('billing.transaction_ids', %d)`, n.transactions), `
		UPDATE billing.transactions SET created_at = '2026-11-01'::timestamptz + id * interval '1 second'`, `
		UPDATE billing.reversals SET decided_at = '2026-11-01'::timestamptz + id * interval '1 second'`, fmt.Sprintf(`
		INSERT INTO billing.refused_payments (content, payment_id, user_id, bill_id, amount, reason, first_at)
		SELECT sha256(n::text::bytea), 1 + n %% 1000, 1, 1, '5', 'user_not_found', '2026-11-01'::timestamptz + n * interval '1 second' FROM generate_series(1, %d) n`, n.customers), `
		VACUUM ANALYZE billing.transactions, billing.refused_payments, billing.reversals`)
	w := pgtest.NewWatch(t, s.db)
	like, err := pg.Open(t.Context(), s.db.URL("billing"), "billing", 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(like.Close)
	ledger := w.Pool(t, s.pool, nil)
	measured := map[string]int{}
	look := func(mode string, times int) {
		pools := pg.OnePool(w.Pool(t, like, map[string]string{"plan_cache_mode": mode}))
		defer pools.Close()
		store := postgres.New(pools, ledger, slog.New(slog.DiscardHandler))
		for method, buffers := range w.Flat(t, times, reads(store, n)) {
			measured[method] = max(measured[method], buffers)
		}
	}
	look("force_generic_plan", 2) // during an upgrade: the indexes that the release before needs are still there
	if err := opened.Finish(t.Context(), s.db.URL("billing_owner"), postgres.Opened, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	for mode, times := range map[string]int{"auto": 10, "force_custom_plan": 2, "force_generic_plan": 2} {
		look(mode, times)
	}
	pgtest.Covered(t, reflect.TypeFor[*postgres.Store](), measured, exempt)
	for _, method := range slices.Sorted(maps.Keys(measured)) {
		t.Logf("%s reads at most %d buffers", method, measured[method])
	}
}

// counts is how much is stored.
type counts struct{ transactions, bills, customers int }

// idSQL is the id of the purchase of transaction n, as SQL; purchaseID is the same in Go.
const idSQL = `(lpad(to_hex(1700000000000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid`

func purchaseID(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("%012x70008000%012x", 1700000000000+n, n))
}

const pageSize = 20

func reads(store *postgres.Store, n counts) []pgtest.Read {
	const one = 10    // buffers: one row by its key
	const inPage = 60 // buffers: each of 20 rows on a page of its own, and the way through the index
	var all []pgtest.Read
	add := func(method, what string, most, want int, run func(context.Context) (int, error)) {
		all = append(all, pgtest.Read{Method: method, Case: what, Most: most, Rows: want, Run: run})
	}
	// Of each list: the first page, one in the middle, the last one, and cursors that no page has.
	pagesOf := func(method, what string, most, want int, list func(ctx context.Context, before *int64) (int, error), before ...int) {
		add(method, what+", first page", most, want, func(ctx context.Context) (int, error) { return list(ctx, nil) })
		for _, cursor := range append(before, math.MaxInt64) {
			add(method, fmt.Sprint(what, ", before ", cursor), most, want, func(ctx context.Context) (int, error) { return list(ctx, new(int64(cursor))) })
		}
		for _, forged := range []int64{0, math.MinInt64} {
			add(method, fmt.Sprint(what, ", before ", forged), most, 0, func(ctx context.Context) (int, error) { return list(ctx, &forged) })
		}
	}
	pages := func(method, what string, want int, list func(ctx context.Context, before *int64) (int, error), before ...int) {
		pagesOf(method, what, inPage, want, list, before...)
	}
	transactions := func(f billing.TransactionFilter, want int, before ...int) {
		what := fmt.Sprintf("user %d, type %q", f.UserID, f.Type)
		if f.BillID != nil {
			what += fmt.Sprintf(", bill %d", *f.BillID)
		}
		f.Limit = pageSize
		pages("Transactions", what, want, func(ctx context.Context, before *int64) (int, error) {
			f.Before = before
			found, err := store.Transactions(ctx, f)
			return len(found), err
		}, before...)
	}
	half := n.transactions * 3 / 10 // the first bill's
	for bill, rare := range map[int64]string{0: "", 1: billing.TypePayment, 2: billing.TypePurchase} {
		for _, kind := range []string{"", billing.TypePayment, billing.TypePurchase} {
			f := billing.TransactionFilter{UserID: busy, Type: kind}
			first, middle := 0, half
			if bill > 0 {
				f.BillID = &bill
				first, middle = int(bill-1)*half, int(bill-1)*half+half/2
			}
			switch {
			case kind == rare && rare != "":
				middle = first + 250
			case rare != "" && kind != "":
				first += 500
			case kind == billing.TypePurchase: // of both bills: those of the first one come after its payments
				first += 500
			}
			transactions(f, pageSize, middle, first+pageSize+1)
		}
	}
	transactions(billing.TransactionFilter{UserID: 501, BillID: new(int64(1))}, 0)  // another user's bill
	transactions(billing.TransactionFilter{UserID: busy, BillID: new(int64(3))}, 0) // a bill without transactions
	transactions(billing.TransactionFilter{UserID: 600, Type: billing.TypePayment}, pageSize)
	transactions(billing.TransactionFilter{UserID: 600, Type: billing.TypePurchase}, 0)
	transactions(billing.TransactionFilter{UserID: 1}, 0)
	transactions(billing.TransactionFilter{UserID: busy, Type: billing.TypeReversal}, 0)
	transactions(billing.TransactionFilter{UserID: busy, BillID: new(int64(1)), Type: billing.TypeReversal}, 0)

	// Those with a shortfall are the 500 oldest; half of all are of payment 1.
	for short, cursors := range map[bool][]int{false: {n.transactions / 10, pageSize + 1}, true: {400, pageSize + 1}} {
		pages("Reversals", fmt.Sprint("short: ", short), pageSize, func(ctx context.Context, before *int64) (int, error) {
			found, err := store.Reversals(ctx, billing.ReversalFilter{Short: short, Before: before, Limit: pageSize})
			return len(found), err
		}, cursors...)
	}

	// In a range of time: its first page, its last one, and pages of ranges that have none. Two searches for the ids, and the rows of the margin beside the
	// range, one a second.
	const search, beside = 140, 40
	const ofATime = " of a time" // measured apart: the searches cost more than a page
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	at := func(n int) *time.Time { return new(begin.Add(time.Duration(n) * time.Second)) }
	ranges := func(method, what string, per int, list func(context.Context, filter.Range, *int64) (int, error), first, last int) {
		middle := (first + last) / 2
		for where, c := range map[string]struct {
			r    filter.Range
			want int
		}{
			"all":         {filter.Range{From: at(first), To: at(last)}, pageSize},
			"the middle":  {filter.Range{From: at(middle - 1000), To: at(middle + 1000)}, pageSize},
			"the newest":  {filter.Range{From: at(middle)}, pageSize},
			"the oldest":  {filter.Range{To: at(middle)}, pageSize},
			"before all":  {filter.Range{From: at(-5000), To: at(-4000)}, 0},
			"after all":   {filter.Range{From: at(n.transactions + 4000), To: at(n.transactions + 5000)}, 0},
			"any time":    {filter.Range{From: new(time.Time{}), To: new(begin.AddDate(900, 0, 0))}, pageSize},
			"before time": {filter.Range{To: new(time.Time{})}, 0},
		} {
			add(method+ofATime, what+", "+where, per*(inPage+beside)+2*search, c.want, func(ctx context.Context) (int, error) { return list(ctx, c.r, nil) })
			if c.want > 0 {
				cursor := int64(middle)
				if where == "the newest" {
					cursor = int64(last - 2*pageSize)
				}
				add(method+ofATime, fmt.Sprint(what, ", ", where, ", before ", cursor), per*(inPage+beside)+2*search, c.want, func(ctx context.Context) (int, error) { return list(ctx, c.r, &cursor) })
			}
		}
	}
	own := func(f billing.TransactionFilter, first, last int) {
		f.Limit = pageSize
		ranges("Transactions", fmt.Sprintf("user %d, type %q, bill %v, of a time", f.UserID, f.Type, f.BillID != nil), 1, func(ctx context.Context, r filter.Range, before *int64) (int, error) {
			f.When, f.Before = r, before
			found, err := store.Transactions(ctx, f)
			return len(found), err
		}, first, last)
	}
	own(billing.TransactionFilter{UserID: busy}, 1, 2*half)
	own(billing.TransactionFilter{UserID: busy, BillID: new(int64(1))}, 1, half)
	own(billing.TransactionFilter{UserID: busy, BillID: new(int64(2)), Type: billing.TypePayment}, half+1000, 2*half)
	ledger := func(what string, per int, f billing.LedgerFilter, first, last int) {
		f.Limit = pageSize
		list := func(ctx context.Context, r filter.Range, before *int64) (int, error) {
			f.When, f.Before = r, before
			found, err := store.Ledger(ctx, f)
			return len(found), err
		}
		pagesOf("Ledger", what, per*inPage, pageSize, func(ctx context.Context, before *int64) (int, error) { return list(ctx, filter.Range{}, before) }, (first+last)/2, first+pageSize)
		ranges("Ledger", what, per, list, first, last)
	}
	ledger("all", 1, billing.LedgerFilter{}, 1, n.transactions)
	ledger("of the busy user", 1, billing.LedgerFilter{UserID: new(int64(busy))}, 1, 2*half)
	ledger("of a bill", 1, billing.LedgerFilter{BillID: new(int64(2))}, half+1, 2*half)
	ledger("payments", 1, billing.LedgerFilter{Type: billing.TypePayment}, half+1000, 2*half)
	ledger("purchases", 4, billing.LedgerFilter{Type: billing.TypePurchase}, 1000, half) // each found by its key
	for what, f := range map[string]billing.LedgerFilter{
		"of another user": {UserID: new(int64(1))}, "of no bill": {BillID: new(int64(math.MaxInt64))}, "no payment": {PaymentID: new(int64(math.MaxInt64))},
	} {
		f.Limit = pageSize
		add("Ledger", what, inPage, 0, func(ctx context.Context) (int, error) { found, err := store.Ledger(ctx, f); return len(found), err })
	}
	add("Ledger", "a payment", 10, 1, func(ctx context.Context) (int, error) {
		found, err := store.Ledger(ctx, billing.LedgerFilter{PaymentID: new(int64(250)), Limit: pageSize})
		return len(found), err
	})
	for what, f := range map[string]billing.ReversalFilter{
		"all": {}, "of a user": {UserID: new(int64(busy))}, "of a bill": {BillID: new(int64(1))},
	} {
		f.Limit = pageSize
		ranges("Reversals", what+", of a time", 1, func(ctx context.Context, r filter.Range, before *int64) (int, error) {
			f.When, f.Before = r, before
			found, err := store.Reversals(ctx, f)
			return len(found), err
		}, 1, n.transactions*2/10)
	}
	add("Reversals", "of a payment", one, 1, func(ctx context.Context) (int, error) {
		found, err := store.Reversals(ctx, billing.ReversalFilter{PaymentID: new(int64(1001)), Limit: pageSize})
		return len(found), err
	})
	const few = 10 // rows, of ten seconds: the others of the page are read, and then those within the margin
	for _, middle := range []int{half / 2, half * 3 / 2} {
		r := filter.Range{From: at(middle), To: at(middle + few)}
		add("Transactions"+ofATime, fmt.Sprint("of ten seconds from ", middle), 2*search+3*inPage, few, func(ctx context.Context) (int, error) {
			found, err := store.Transactions(ctx, billing.TransactionFilter{UserID: busy, When: r, Limit: pageSize})
			return len(found), err
		})
		add("Ledger"+ofATime, fmt.Sprint("of ten seconds from ", middle), 2*search+3*inPage, few, func(ctx context.Context) (int, error) {
			found, err := store.Ledger(ctx, billing.LedgerFilter{When: r, Limit: pageSize})
			return len(found), err
		})
	}

	for what, c := range map[string]struct{ bill, second int }{"in the middle": {1, half / 2}, "before all": {2, half}, "after all": {2, 2 * n.transactions}, "of no transaction": {3, half}, "between others": {4, 2*half + half/10}} {
		add("BalanceAt", what, 2*search, 1, func(ctx context.Context) (int, error) {
			_, err := store.BalanceAt(ctx, int64(c.bill), *at(c.second))
			return 1, err
		})
	}

	pages("Bills", "busy user", pageSize, func(ctx context.Context, before *int64) (int, error) {
		found, err := store.Bills(ctx, busy, before, pageSize)
		return len(found), err
	}, n.bills/4, pageSize+1)
	pages("Customers", "all", pageSize, func(ctx context.Context, before *int64) (int, error) {
		found, err := store.Customers(ctx, before, pageSize)
		return len(found), err
	}, n.customers/2, pageSize+1)
	const of = 10 // customers, one of them busy
	var owners []int64
	for i := range int64(of) {
		owners = append(owners, busy+i)
	}
	add("BillsOf", "of ten", 6*pageSize*of+of*6, pageSize*of, func(ctx context.Context) (int, error) {
		found, err := store.BillsOf(ctx, owners, pageSize)
		return len(found), err
	})
	add("Bill", "in the middle", one, 1, func(ctx context.Context) (int, error) {
		_, err := store.Bill(ctx, busy, int64(n.bills/4))
		return 1, err
	})
	add("Customer", "in the middle", one, 1, func(ctx context.Context) (int, error) {
		_, err := store.Customer(ctx, int64(n.customers/2))
		return 1, err
	})
	add("KnownUsers", "one of two", one, 1, func(ctx context.Context) (int, error) {
		known, err := store.KnownUsers(ctx, []int64{busy, math.MaxInt64})
		return len(known), err
	})
	add("FindPayment", "in the middle", one, 1, func(ctx context.Context) (int, error) {
		p, err := store.FindPayment(ctx, 250)
		if p == nil {
			return 0, err
		}
		return 1, err
	})
	add("OpenBill", "beyond the limit", billing.MaxBills+one, 1, func(ctx context.Context) (int, error) {
		if _, _, err := store.OpenBill(ctx, busy, ""); !errors.Is(err, billing.ErrTooManyBills) {
			return 0, err
		}
		return 1, nil
	})
	// A day in which all transactions are purchases, one with payments, and all of them.
	window := func(from, to int, after *billing.Position) billing.Window {
		return billing.Window{From: begin.Add(time.Duration(from) * time.Second), To: begin.Add(time.Duration(to) * time.Second), After: after, Limit: pageSize}
	}
	for what, w := range map[string]billing.Window{
		"first payments": window(0, n.transactions, nil), "in the middle": window(n.transactions*6/10-1000, n.transactions, nil), "the last": window(n.transactions*6/10-pageSize+1, n.transactions*6/10+1, nil),
		"after a payment": window(0, n.transactions, &billing.Position{At: begin.Add(250 * time.Second), ID: 250}), "after a forged one": window(0, n.transactions, &billing.Position{ID: math.MinInt64}),
	} {
		add("CreditedWithin", what, inPage+4*pageSize, pageSize, func(ctx context.Context) (int, error) { // and what was reversed of each
			found, err := store.CreditedWithin(ctx, w)
			return len(found), err
		})
	}
	for what, w := range map[string]billing.Window{
		"only purchases": window(1000, n.transactions*3/10, nil), "before all": window(-1000, 0, nil), "after a forged one": window(0, n.transactions, &billing.Position{At: begin.AddDate(900, 0, 0), ID: math.MaxInt64}),
	} {
		add("CreditedWithin", what, inPage, 0, func(ctx context.Context) (int, error) {
			found, err := store.CreditedWithin(ctx, w)
			return len(found), err
		})
	}
	for what, w := range map[string]billing.Window{
		"first": window(0, n.customers, nil), "in the middle": window(n.customers/2, n.customers, nil), "after one": window(0, n.customers, &billing.Position{At: begin.Add(time.Hour), ID: 3600}),
	} {
		add("RefusedWithin", what, inPage+8*pageSize, pageSize, func(ctx context.Context) (int, error) { // and whether each was credited since
			found, err := store.RefusedWithin(ctx, w)
			return len(found), err
		})
	}
	errMissing := errors.New("missing")
	add("Credited", "in the middle", one, 1, func(ctx context.Context) (int, error) {
		_, err := store.Credited(ctx, int64(n.transactions/2), errMissing)
		return 1, err
	})
	add("LastRefused", "of many", 2*one, 1, func(ctx context.Context) (int, error) {
		_, err := store.LastRefused(ctx, 7, errMissing)
		return 1, err
	})
	add("PaymentFacts", "of a payment that was credited", 3*one, 1, func(ctx context.Context) (int, error) {
		f, err := store.PaymentFacts(ctx, billing.Payment{ID: 7, UserID: busy, BillID: 1})
		if err == nil && (f.Known == nil || f.Owner == nil || f.Bill == nil) {
			err = fmt.Errorf("%+v", f)
		}
		return 1, err
	})
	const write = 250 // buffers: a few rows and their entries in all indexes
	last := int64(n.transactions)
	add("Settle", "a purchase, a payment, and a repeat of each", write, 4, func(ctx context.Context) (int, error) {
		last++
		again := &billing.ChargeRequest{PurchaseID: purchaseID(2000), UserID: busy, BillID: 1, Amount: 5}
		results := store.Settle(ctx, []billing.Item{purchase(busy, 1, 1), payment(last+math.MaxInt64/2, busy, 1, 1), again, payment(1, busy, 1, 5)})
		for _, r := range results {
			if f, failed := r.(billing.Failed); failed {
				return 0, f.Err
			}
		}
		return len(results), nil
	})
	add("Settle", "a reversal of a payment that has many, and a repeat", write, 2, func(ctx context.Context) (int, error) {
		last++
		paid, err := store.FindPayment(ctx, 1)
		if err != nil {
			return 0, err
		}
		results := store.Settle(ctx, []billing.Item{
			&billing.Reversal{ID: last + math.MaxInt64/2, PaymentID: 1, Total: 5, Payment: paid}, &billing.Reversal{ID: 1000, PaymentID: 1, Total: 5, Payment: paid},
		})
		for i, r := range results {
			if d := decision(r); d == nil || d.Due != 0 || (d.ReversalID == 1000) != (i == 1) {
				return 0, fmt.Errorf("reversal %d: %s", i, outcome(r))
			}
		}
		return len(results), nil
	})
	add("Settle", "a refund of a purchase that has many, to a bill that owes, and a repeat", write, 2, func(ctx context.Context) (int, error) {
		r := &billing.RefundRequest{RefundID: uuid.New(), PurchaseID: purchaseID(2000), UserID: busy, BillID: 1, Amount: 5}
		results := store.Settle(ctx, []billing.Item{r, r})
		if first, again := outcome(results[0]), outcome(results[1]); first != "bill_owes" || again != "bill_owes again" {
			return 0, fmt.Errorf("%s, %s", first, again)
		}
		return len(results), nil
	})
	return all
}
