package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"lavka/deploy/local/stack"
	"lavka/libs/service/pgconfig"
)

// past is the year that a shop is filled with.
type past struct {
	transactions int  // on all bills; a fifth are debits of purchases, the others payments
	users        int  // in the end; those who are added have a bill each and can't log in
	heavy        bool // whether the first user, on their bills, has a tenth of the transactions
}

const year = 365 * 24 * time.Hour

// Each bill gets rounds of four payments of 2 and a purchase for 1 (minor units).
const (
	roundSteps = 5
	roundTotal = 4*2 - 1
)

// filler writes a past to the database directly; over the API it would take days. The ledger adds up. Ids and times rise
// together, as they do in a shop.
type filler struct {
	past
	connect     func(ctx context.Context) (*pgx.Conn, error)
	bills       []oldBill // of all, or of all but the heavy user
	rounds      int       // on each of them
	heavyBills  []oldBill
	heavyRounds int
	every       int // after this many transactions comes one of the heavy user
	product     int64
	firstID     int64
	begin       time.Time
}

type oldBill struct{ id, user, balance int64 }

// oldTransaction is a transaction of the past.
type oldTransaction struct {
	bill     oldBill
	id       int64
	at       time.Time
	amount   int64
	after    int64
	purchase bool
}

// fill fills the shop. It must have no other load.
func (s *shop) fill(ctx context.Context, p past) error {
	f := &filler{past: p, product: s.products[0], begin: time.Now().Add(-year),
		connect: func(ctx context.Context) (*pgx.Conn, error) { return pgconfig.Connect(ctx, s.AdminDatabaseURL) }}
	conn, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	began := time.Now()
	steps := []struct {
		what string
		do   func() error
	}{
		{"settings", func() error {
			return statements(ctx, conn, `ALTER SYSTEM SET fsync = off`, `ALTER SYSTEM SET full_page_writes = off`, `ALTER SYSTEM SET max_wal_size = '8GB'`,
				`ALTER SYSTEM SET autovacuum = off`, `SELECT pg_reload_conf()`, `SET maintenance_work_mem = '1GB'`, `SET max_parallel_maintenance_workers = 2`)
		}},
		{"users", func() error { return f.addUsers(ctx, conn) }},
		{"the order of what is there", func() error { return f.read(ctx, conn, s.users[0].id) }},
		{"transactions, charges and purchases", func() error { return f.copy(ctx, conn) }},
		{"balances", func() error {
			return statements(ctx, conn,
				fmt.Sprintf(`UPDATE billing.bills SET balance = balance + %d WHERE user_id <> %d OR NOT %t`, f.rounds*roundTotal, s.users[0].id, p.heavy),
				fmt.Sprintf(`UPDATE billing.bills SET balance = balance + %d WHERE user_id = %d AND %t`, f.heavyRounds*roundTotal, s.users[0].id, p.heavy))
		}},
		{"statistics", func() error { return statements(ctx, conn, `VACUUM (ANALYZE, FREEZE)`) }},
		{"settings", func() error {
			if err := statements(ctx, conn, `ALTER SYSTEM RESET max_wal_size`, `ALTER SYSTEM RESET autovacuum`, `ALTER SYSTEM RESET full_page_writes`, `SELECT pg_reload_conf()`, `CHECKPOINT`); err != nil {
				return err
			}
			syscall.Sync() // what was written without fsync
			return statements(ctx, conn, `ALTER SYSTEM RESET fsync`, `SELECT pg_reload_conf()`, `CHECKPOINT`)
		}},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return fmt.Errorf("fill the shop with %s: %w", step.what, err)
		}
		fmt.Printf("  %s: %v\n", step.what, time.Since(began).Round(time.Second))
	}
	return nil
}

func statements(ctx context.Context, conn *pgx.Conn, all ...string) error {
	for _, sql := range all {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// addUsers adds those who are missing, with a bill each. They are published once a day, as others are.
func (f *filler) addUsers(ctx context.Context, conn *pgx.Conn) error {
	var last, bill int64
	if err := conn.QueryRow(ctx, `SELECT (SELECT max(id) FROM auth.users), (SELECT max(id) FROM billing.bills)`).Scan(&last, &bill); err != nil {
		return err
	}
	missing := max(0, int64(f.users)-last)
	return statements(ctx, conn,
		fmt.Sprintf(`INSERT INTO auth.users (id, login, password_hash, role, activated_at, created_at, changed_at, publish_at, published_version) OVERRIDING SYSTEM VALUE
			SELECT n, 'old-' || n, '', 'user', t, t, t, now() + random() * interval '1 day', 1
			FROM generate_series(%[1]d, %[2]d) n, LATERAL (SELECT now() - interval '1 year' + n * interval '1 microsecond' AS t) times`, last+1, last+missing),
		fmt.Sprintf(`SELECT setval('auth.users_id_seq', %d)`, last+missing),
		fmt.Sprintf(`INSERT INTO billing.customers (user_id, login, role, status, version) SELECT n, 'old-' || n, 'user', 'active', 1 FROM generate_series(%d, %d) n
			ON CONFLICT DO NOTHING -- auth may have published them`, last+1, last+missing),
		fmt.Sprintf(`INSERT INTO billing.bills (id, user_id, created_at) SELECT %[1]d + row_number() OVER (), n, now() - interval '1 year' FROM generate_series(%[2]d, %[3]d) n`, bill, last+1, last+missing),
		// What is there is older than what is added.
		`UPDATE billing.transactions SET created_at = created_at - interval '366 days'`)
}

// read finds where the past goes on from what is there.
func (f *filler) read(ctx context.Context, conn *pgx.Conn, heavy int64) error {
	rows, err := conn.Query(ctx, `SELECT id, user_id, balance FROM billing.bills ORDER BY id`)
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (b oldBill, err error) { return b, row.Scan(&b.id, &b.user, &b.balance) })
	if err != nil {
		return err
	}
	for _, b := range all {
		if f.heavy && b.user == heavy {
			f.heavyBills = append(f.heavyBills, b)
		} else {
			f.bills = append(f.bills, b)
		}
	}
	rest := f.transactions
	if f.heavy {
		rest -= f.transactions / 10
		f.heavyRounds = max(1, f.transactions/10/len(f.heavyBills)/roundSteps)
	}
	f.rounds = max(1, rest/len(f.bills)/roundSteps)
	f.every = f.number() / max(1, f.heavyNumber())
	if f.every == 0 {
		return fmt.Errorf("%d transactions are too few for %d bills", f.transactions, len(all))
	}
	return conn.QueryRow(ctx, `SELECT max(id) + 1 FROM billing.transactions`).Scan(&f.firstID)
}

// number and heavyNumber are how many transactions there are, without and with those of the heavy user.
func (f *filler) number() int { return len(f.bills) * f.rounds * roundSteps }

func (f *filler) heavyNumber() int { return len(f.heavyBills) * f.heavyRounds * roundSteps }

// each calls do with all transactions, in their order, until it fails. One of each bill comes after the other, so that the past
// of a bill is spread over the year.
func (f *filler) each(do func(oldTransaction) error) error {
	n, id, heavy := f.number(), f.firstID, 0
	step := func(bills []oldBill, i int, at time.Time) error {
		b, steps := bills[i%len(bills)], i/len(bills)
		t := oldTransaction{bill: b, id: id, at: at, amount: 2, after: b.balance + int64(steps/roundSteps*roundTotal+2*(steps%roundSteps+1))}
		if steps%roundSteps == roundSteps-1 {
			t.amount, t.purchase, t.after = -1, true, b.balance+int64((steps/roundSteps+1)*roundTotal)
		}
		id++
		return do(t)
	}
	for i := range n {
		at := f.begin.Add(time.Duration(float64(year) * float64(i) / float64(n)))
		if err := step(f.bills, i, at); err != nil {
			return err
		}
		if (i+1)%f.every == 0 && heavy < f.heavyNumber() {
			if err := step(f.heavyBills, heavy, at); err != nil {
				return err
			}
			heavy++
		}
	}
	return nil
}

// purchaseID is the id of the purchase of a debit, a UUIDv7: it begins with its milliseconds (RFC 9562, section 5.7).
func (t oldTransaction) purchaseID() (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:], uint64(t.at.UnixMilli())<<16|7<<12|uint64(t.id&0xfff))
	binary.BigEndian.PutUint64(id[8:], 2<<62|uint64(t.id)*0x9E3779B97F4A7C15>>2) // what is random in others differs here as widely
	return id
}

// copied is a table that the past is copied to.
type copied struct {
	name    string
	columns []string
	row     func(oldTransaction) []any // nil if it has none
}

func (f *filler) tables() []copied {
	trace := func(t oldTransaction) string { return fmt.Sprintf("00-%032x-%016x-01", t.id, t.id) }
	return []copied{
		{"billing.transactions", []string{"id", "bill_id", "user_id", "amount", "balance_after", "payment_id", "purchase_id", "created_at"}, func(t oldTransaction) []any {
			if t.purchase {
				return []any{t.id, t.bill.id, t.bill.user, t.amount, t.after, nil, t.purchaseID(), t.at}
			}
			return []any{t.id, t.bill.id, t.bill.user, t.amount, t.after, oldPayments + t.id, nil, t.at}
		}},
		{"billing.charges", []string{"purchase_id", "user_id", "bill_id", "amount", "outcome", "balance", "transaction_id", "decided_at", "trace_context"}, func(t oldTransaction) []any {
			if !t.purchase {
				return nil
			}
			return []any{t.purchaseID(), t.bill.user, t.bill.id, -t.amount, "settled", t.after, t.id, t.at, trace(t)}
		}},
		{"catalog.purchases", []string{"id", "user_id", "idempotency_key", "product_id", "title", "price", "bill_id", "status", "balance", "transaction_id", "created_at", "expires_at", "settled_at", "next_send_at", "trace_context"}, func(t oldTransaction) []any {
			if !t.purchase {
				return nil
			}
			return []any{t.purchaseID(), t.bill.user, fmt.Sprintf("old-%022d", t.id), f.product, "Samovar", -t.amount, t.bill.id, "completed", t.after, t.id, t.at, t.at.Add(15 * time.Minute), t.at, t.at.Add(3 * time.Second), trace(t)}
		}},
	}
}

// oldPayments is below the ids of the past's payments. The generator's own are lower.
const oldPayments = 1_000_000_000_000

// copy copies the past to its tables. Their indexes are made in the end, which is several times as fast.
func (f *filler) copy(ctx context.Context, conn *pgx.Conn) error {
	restore, err := dropIndexes(ctx, conn)
	if err != nil {
		return err
	}
	all, during := errgroup.WithContext(ctx)
	for _, t := range f.tables() {
		all.Go(func() error {
			if err := f.copyTo(during, t); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	if err := statements(ctx, conn, `SELECT setval('billing.transaction_ids', (SELECT max(id) FROM billing.transactions))`); err != nil {
		return err
	}
	return statements(ctx, conn, restore...)
}

func (f *filler) copyTo(ctx context.Context, t copied) error {
	conn, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	ctx, end := context.WithCancel(ctx)
	defer end()
	batches := make(chan [][]any, 4)
	go func() {
		defer close(batches)
		const rows = 1000
		batch := make([][]any, 0, rows)
		send := func() error {
			select {
			case batches <- batch:
				batch = make([][]any, 0, rows)
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := f.each(func(o oldTransaction) error {
			if row := t.row(o); row != nil {
				batch = append(batch, row)
			}
			if len(batch) == rows {
				return send()
			}
			return nil
		})
		if err == nil {
			err = send()
		}
		if err != nil {
			end() // the copy fails with it
		}
	}()
	var batch [][]any
	schema, table, _ := strings.Cut(t.name, ".")
	_, err = conn.CopyFrom(ctx, pgx.Identifier{schema, table}, t.columns, pgx.CopyFromFunc(func() (row []any, err error) {
		if len(batch) == 0 {
			batch = <-batches
		}
		if len(batch) == 0 {
			return nil, ctx.Err()
		}
		row, batch = batch[0], batch[1:]
		return row, nil
	}))
	return err
}

// dropIndexes drops the indexes of the past's tables that will have entries, and returns the statements that make them again.
func dropIndexes(ctx context.Context, conn *pgx.Conn) (restore []string, err error) {
	rows, err := conn.Query(ctx, `
		SELECT CASE WHEN c.oid IS NULL THEN format('DROP INDEX %s', i.indexrelid::regclass) ELSE format('ALTER TABLE %s DROP CONSTRAINT %I', i.indrelid::regclass, c.conname) END,
			CASE WHEN c.oid IS NULL THEN pg_get_indexdef(i.indexrelid) ELSE format('ALTER TABLE %s ADD CONSTRAINT %I %s', i.indrelid::regclass, c.conname, pg_get_constraintdef(c.oid)) END
		FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype IN ('p', 'u')
		WHERE i.indrelid IN ('billing.transactions'::regclass, 'billing.charges'::regclass, 'catalog.purchases'::regclass)
			AND coalesce(pg_get_expr(i.indpred, i.indrelid), '') !~ 'pending|settled_at|refund_id|reversal_id'`)
	if err != nil {
		return nil, err
	}
	var drop []string
	for rows.Next() {
		var d, r string
		if err := rows.Scan(&d, &r); err != nil {
			return nil, errors.Join(err, rows.Err())
		}
		drop, restore = append(drop, d), append(restore, r)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return restore, statements(ctx, conn, drop...)
}

// settleDown lets the shop be as it is most of the time: what was written is in
// the tables, and most pages have been written since the last checkpoint, the
// first time in full (full_page_writes).
func (b *bench) settleDown(ctx context.Context) error {
	if err := b.admin(ctx, func(conn *pgx.Conn) error { return statements(ctx, conn, `CHECKPOINT`) }); err != nil {
		return err
	}
	catalog := b.addr(stack.Catalog)
	warm := closed(ctx, catalog, inFlight, 4*b.span, b.purchase(catalog, b.anyBill))
	fmt.Printf("  after a checkpoint: %.0f/s\n", warm.rate())
	return warm.unexpected()
}

func millions(n int) string {
	if n >= 1_000_000 {
		return fmt.Sprintf("%d million", n/1_000_000)
	}
	return fmt.Sprint(n)
}
