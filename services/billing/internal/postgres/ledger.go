package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/domain/money"
	"lavka/libs/service/pg"
	"lavka/services/billing/internal/billing"
)

// lock is how a group locks its bills, and what it does if another transaction
// has locked one of them.
type lock string

const (
	wait lock = "FOR UPDATE"             // wait until lock_timeout
	skip lock = "FOR UPDATE SKIP LOCKED" // skip the bill; its items are held
)

var (
	// errNoBill means that a payment needs a bill that does not exist. The group is
	// retried and creates the bill first. Most groups don't need this step.
	errNoBill = errors.New("a payment needs a bill that does not exist yet")
	// errUnusedBill means that a bill was created for a payment that was then
	// refused. The retry sees the reason before it would create the bill.
	errUnusedBill = errors.New("a bill was created for a payment that was refused")
)

// settle decides a group in one transaction. Its isolation level is READ
// COMMITTED: every statement sees what was committed before the statement began.
//
//  1. If createBills is set, create the bills that payments need and that don't
//     exist. A previous attempt has found that there are some.
//  2. Lock all bills in ascending order of id. A repeat waits here too, so that
//     it is never answered before a synchronous standby has the decision.
//  3. Read the earlier decisions. The statements of steps 1 to 3 are sent
//     together; the server still runs them one after another.
//  4. Decide in memory.
//  5. Write balances, transactions, charges, reversals and refunds.
func (s *Store) settle(ctx context.Context, items []billing.Item, l lock, createBills bool) (results []billing.Result, err error) {
	tx, err := pg.Begin(ctx, s.ledger)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))

	k := keysOf(items)
	state, created, err := read(ctx, tx, k, l, createBills)
	if err != nil {
		return nil, err
	}
	if l == wait && !createBills && k.needBill(state) {
		return nil, errNoBill
	}
	if l == skip {
		if err := findHeld(ctx, tx, k, &state); err != nil {
			return nil, err
		}
	}
	results, changes := billing.Decide(state, items)
	for _, id := range created {
		if changes.Balances[id] == nil {
			return nil, errUnusedBill
		}
	}
	b := write(changes)
	if len(state.Bills) == 0 && len(changes.Charges) == 0 && len(changes.Refunds) == 0 {
		mark(b)
	}
	if err := tx.CommitWith(ctx, b); err != nil {
		return nil, fmt.Errorf("write balances, transactions and decisions: %w", err)
	}
	return results, nil
}

// mark makes a transaction that has neither locked nor written anything wait for
// a synchronous standby at COMMIT. Such a transaction repeats declines for which
// there was no bill. PostgreSQL makes only transactions wait that have written to
// its log.
func mark(b *pgx.Batch) {
	b.Queue(`SELECT pg_logical_emit_message(true, 'lavka', 'repeat')`)
}

// keys are the keys of the rows that a group has to read.
type keys struct {
	bills     []int64 // ascending
	users     []int64
	purchases []uuid.UUID
	payments  []int64 // each id once
	reversals []int64 // the provider's ids
	reversed  []int64 // the payments that they reverse
	refunds   []uuid.UUID
	refunded  []uuid.UUID // the purchases of the refunds
	refundTo  []int64     // the bills of the refunds
	creators  []int64     // those of the payments that may create their bill
	payBills  []int64     // the bill of each creator, in the same order
	payUsers  []int64     // the user of each creator, in the same order
	items     int         // the number of items
}

func keysOf(items []billing.Item) keys {
	bills, users := map[int64]bool{}, map[int64]bool{}
	seen := map[int64]bool{}
	k := keys{items: len(items)}
	for _, item := range items {
		if id := item.TargetBill(); id != 0 {
			bills[id] = true
		}
		switch item := item.(type) {
		case *billing.ChargeRequest:
			users[item.UserID] = true
			k.purchases = append(k.purchases, item.PurchaseID)
		case *billing.Payment:
			users[item.UserID] = true
			if !seen[item.ID] { // a second payment with the same id can only be a repeat or a conflict
				seen[item.ID] = true
				k.payments = append(k.payments, item.ID)
				if item.MayCreateBill() {
					k.creators = append(k.creators, item.ID)
					k.payBills = append(k.payBills, item.BillID)
					k.payUsers = append(k.payUsers, item.UserID)
				}
			}
		case *billing.Reversal:
			k.reversals = append(k.reversals, item.ID)
			k.reversed = append(k.reversed, item.PaymentID)
		case *billing.RefundRequest:
			k.refunds = append(k.refunds, item.RefundID)
			k.refunded = append(k.refunded, item.PurchaseID)
			k.refundTo = append(k.refundTo, item.BillID)
			k.purchases = append(k.purchases, item.PurchaseID) // its charge
		default: // billing.Decide fails it
		}
	}
	k.bills = slices.Sorted(maps.Keys(bills))
	k.users = slices.Sorted(maps.Keys(users))
	return k
}

// needBill reports whether a payment that was not credited before, for a known
// user, needs a bill that does not exist.
func (k keys) needBill(state billing.State) bool {
	for i, id := range k.creators {
		if state.Payments[id] == nil && state.Bills[k.payBills[i]] == nil && state.Customers[k.payUsers[i]] != nil {
			return true
		}
	}
	return false
}

// read runs steps 1 to 3 in one round trip.
func read(ctx context.Context, tx *pg.Tx, k keys, l lock, createBills bool) (state billing.State, created []int64, err error) {
	state = billing.State{
		Bills: map[int64]*billing.Bill{}, Held: map[int64]bool{}, Customers: map[int64]*billing.Customer{},
		Charges: map[uuid.UUID]*billing.Charge{}, Payments: map[int64]*billing.Payment{},
		Reversals: map[int64]*billing.ReversalDecision{}, Reversed: map[int64]money.Amount{},
		Refunds: map[uuid.UUID]*billing.RefundDecision{}, Refunded: map[uuid.UUID]money.Amount{}, Owing: map[int64]bool{},
	}
	ids := make([]int64, 0, k.items)
	b := &pgx.Batch{}
	// Never combined with skip: if another transaction is creating the same bill,
	// this statement would wait for it as for a lock. Without the bill, its item is
	// held.
	if createBills {
		queue(b, &created, pgx.RowTo[int64], `
			INSERT INTO billing.bills (id, user_id)
			SELECT DISTINCT ON (p.bill_id) p.bill_id, p.user_id
			FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS p (payment_id, bill_id, user_id, n)
			JOIN billing.customers c ON c.user_id = p.user_id
			WHERE NOT EXISTS (SELECT FROM billing.bills b WHERE b.id = p.bill_id)
			  AND NOT EXISTS (SELECT FROM billing.transactions t WHERE t.payment_id = p.payment_id)
			ORDER BY p.bill_id, p.n
			ON CONFLICT DO NOTHING
			RETURNING id`, k.creators, k.payBills, k.payUsers)
	}
	each(b, func(row pgx.CollectableRow) error {
		var bill billing.Bill
		err := row.Scan(&bill.ID, &bill.UserID, &bill.Balance)
		state.Bills[bill.ID] = &bill
		return err
	}, `SELECT id, user_id, balance FROM billing.bills WHERE id = ANY ($1) ORDER BY id `+string(l), k.bills)
	if len(k.purchases) > 0 {
		each(b, func(row pgx.CollectableRow) error {
			c, err := scanCharge(row)
			state.Charges[c.Request.PurchaseID] = &c
			return err
		}, `SELECT purchase_id, user_id, bill_id, amount, outcome, balance, transaction_id, trace_context
			FROM billing.charges WHERE purchase_id = ANY ($1)`, k.purchases)
	}
	if len(k.payments) > 0 {
		each(b, func(row pgx.CollectableRow) error {
			var p billing.Payment
			err := row.Scan(&p.ID, &p.UserID, &p.BillID, &p.Amount)
			state.Payments[p.ID] = &p
			return err
		}, `SELECT payment_id, user_id, bill_id, amount FROM billing.transactions WHERE payment_id = ANY ($1)`, k.payments)
	}
	if len(k.reversals) > 0 {
		each(b, func(row pgx.CollectableRow) error {
			d, err := scanReversal(row)
			state.Reversals[d.ReversalID] = &d
			return err
		}, `SELECT `+reversalColumns+` FROM billing.reversals WHERE reversal_id = ANY ($1)`, k.reversals)
		each(b, func(row pgx.CollectableRow) error {
			var payment int64
			var total money.Amount
			err := row.Scan(&payment, &total)
			state.Reversed[payment] = total
			return err
		}, `SELECT p.id, r.total FROM (SELECT DISTINCT unnest($1::bigint[]) AS id) AS p
			CROSS JOIN LATERAL (SELECT total FROM billing.reversals WHERE payment_id = p.id ORDER BY total DESC LIMIT 1) AS r`, k.reversed)
	}
	if len(k.refunds) > 0 {
		readRefunds(b, k, &state)
	}
	each(b, func(row pgx.CollectableRow) error {
		var c billing.Customer
		err := row.Scan(&c.UserID, &c.Status)
		state.Customers[c.UserID] = &c
		return err
	}, `SELECT user_id, status FROM billing.customers WHERE user_id = ANY ($1)`, k.users)
	// Taken while the bills are locked, so that a bill's transactions have ascending
	// ids.
	each(b, func(row pgx.CollectableRow) error {
		var id int64
		err := row.Scan(&id, &state.Now)
		ids = append(ids, id)
		return err
	}, `SELECT nextval('billing.transaction_ids'), clock_timestamp() FROM generate_series(1, $1::int)`, k.items)

	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return state, nil, fmt.Errorf("lock and read bills: %w", err)
	}
	state.NextID = func() int64 {
		id := ids[0]
		ids = ids[1:]
		return id
	}
	return state, created, nil
}

// findHeld sets state.Held: it distinguishes the bills that were skipped from
// those that do not exist.
func findHeld(ctx context.Context, tx *pg.Tx, k keys, state *billing.State) error {
	existing, err := pg.Rows(ctx, tx, "find held bills", pgx.RowTo[int64], `SELECT id FROM billing.bills WHERE id = ANY ($1)`, k.bills)
	if err != nil {
		return err
	}
	for _, id := range existing {
		if state.Bills[id] == nil {
			state.Held[id] = true
		}
	}
	return nil
}

// write returns the statements of step 5. The inserts never use ON CONFLICT: a
// duplicate would be a bug and has to fail.
func write(c billing.Changes) *pgx.Batch {
	b := &pgx.Batch{}
	if len(c.Balances) > 0 {
		var ids, balances []int64
		for _, id := range slices.Sorted(maps.Keys(c.Balances)) {
			ids = append(ids, id)
			balances = append(balances, int64(c.Balances[id].Balance))
		}
		b.Queue(`
			UPDATE billing.bills b SET balance = n.balance
			FROM unnest($1::bigint[], $2::bigint[]) AS n (id, balance) WHERE b.id = n.id`, ids, balances)
	}
	if n := len(c.Transactions); n > 0 {
		ids, bills, users := make([]int64, n), make([]int64, n), make([]int64, n)
		amounts, after := make([]int64, n), make([]int64, n)
		payments, purchases, refunds, reversals := make([]*int64, n), make([]*uuid.UUID, n), make([]*uuid.UUID, n), make([]*int64, n)
		for i, t := range c.Transactions {
			ids[i], bills[i], users[i] = t.ID, t.BillID, t.UserID
			amounts[i], after[i] = int64(t.Amount), int64(t.BalanceAfter)
			payments[i], purchases[i], refunds[i], reversals[i] = t.PaymentID, t.PurchaseID, t.RefundID, t.ReversalID
		}
		if len(c.Reversals)+len(c.Refunds) == 0 {
			b.Queue(`
				INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, payment_id, purchase_id)
				SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::uuid[])`,
				ids, bills, users, amounts, after, payments, purchases)
		} else { // rare: no other group pays for the arrays
			b.Queue(`
				INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, payment_id, purchase_id, refund_id, reversal_id)
				SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::uuid[], $8::uuid[], $9::bigint[])`,
				ids, bills, users, amounts, after, payments, purchases, refunds, reversals)
		}
	}
	if n := len(c.Charges); n > 0 {
		ids, outcomes := make([]uuid.UUID, n), make([]string, n)
		users, bills, amounts := make([]*int64, n), make([]*int64, n), make([]*int64, n)
		balances, transactions, traces := make([]*int64, n), make([]*int64, n), make([]string, n)
		for i, d := range c.Charges {
			r := &d.Request
			ids[i], outcomes[i], transactions[i], traces[i] = r.PurchaseID, string(d.Outcome), d.TransactionID, r.Trace
			if !r.Unreadable {
				amount := int64(r.Amount)
				users[i], bills[i], amounts[i] = &r.UserID, &r.BillID, &amount
			}
			if d.Balance != nil {
				balance := int64(*d.Balance)
				balances[i] = &balance
			}
		}
		b.Queue(`
			INSERT INTO billing.charges (purchase_id, user_id, bill_id, amount, outcome, balance, transaction_id, trace_context)
			SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::text[])`,
			ids, users, bills, amounts, outcomes, balances, transactions, traces)
	}
	writeReversals(b, c.Reversals)
	writeRefunds(b, c.Refunds)
	return b
}

func scanCharge(row pgx.CollectableRow) (billing.Charge, error) {
	var c billing.Charge
	var user, bill, amount, balance *int64
	r := &c.Request
	err := row.Scan(&r.PurchaseID, &user, &bill, &amount, &c.Outcome, &balance, &c.TransactionID, &r.Trace)
	if user == nil || bill == nil || amount == nil {
		r.Unreadable = true
	} else {
		r.UserID, r.BillID, r.Amount = *user, *bill, money.Amount(*amount)
	}
	if balance != nil {
		b := money.Amount(*balance)
		c.Balance = &b
	}
	return c, err
}

// each queues a statement and calls f with every row of its result.
func each(b *pgx.Batch, f func(pgx.CollectableRow) error, sql string, args ...any) {
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := f(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// queue queues a statement and collects the rows of its result in into.
func queue[T any](b *pgx.Batch, into *[]T, scan pgx.RowToFunc[T], sql string, args ...any) {
	b.Queue(sql, args...).Query(func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, scan)
		return err
	})
}

// groupTimeout is the time limit for one attempt to settle a group. The server's
// own limits are shorter.
const groupTimeout = 15 * time.Second
