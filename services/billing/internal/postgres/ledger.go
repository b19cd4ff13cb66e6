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

// lock says what to do about bills that somebody else holds.
type lock string

const (
	wait lock = "FOR UPDATE"             // until lock_timeout
	skip lock = "FOR UPDATE SKIP LOCKED" // leave them, and tell
)

var (
	// errNoBill means that a payment needs a bill that is not there. Run again, the
	// group makes it first; most groups have no need of that.
	errNoBill = errors.New("a payment needs a bill that is not there yet")
	// errUnusedBill means that a bill was made for a payment that was then refused.
	// Run again, the group sees why before it makes the bill.
	errUnusedBill = errors.New("a bill was made for a payment that was refused")
)

// settle is the one transaction in which a group is decided (READ COMMITTED:
// every statement sees what was committed before it began).
//
//  1. Make the bills that payments need and that are missing, when a run before
//     has found that there are any.
//  2. Lock all bills, in the order of their ids. A repeat waits here too, so it
//     never outruns a synchronous standby.
//  3. Look up what was decided before. The statements of 2 and 3 go out
//     together; the server still runs one after the other.
//  4. Decide in memory.
//  5. Write balances, transactions and charges.
func (s *Store) settle(ctx context.Context, items []billing.Item, l lock, making bool) (results []billing.Result, err error) {
	tx, err := pg.Begin(ctx, s.ledger)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))

	asked := askedBy(items)
	state, made, err := read(ctx, tx, asked, l, making)
	if err != nil {
		return nil, err
	}
	if l == wait && !making && asked.needBill(state) {
		return nil, errNoBill
	}
	if l == skip {
		if err := findHeld(ctx, tx, asked, &state); err != nil {
			return nil, err
		}
	}
	results, changes := billing.Decide(state, items)
	for _, id := range made {
		if changes.Balances[id] == nil {
			return nil, errUnusedBill
		}
	}
	b := write(changes)
	if len(state.Bills) == 0 && len(changes.Charges) == 0 {
		mark(b)
	}
	if err := tx.CommitWith(ctx, b); err != nil {
		return nil, fmt.Errorf("write balances, transactions and charges: %w", err)
	}
	return results, nil
}

// mark makes a transaction wait for a synchronous standby that has neither
// locked nor written anything: it repeats declines for which there was no bill.
// PostgreSQL has only those wait that have put something into its log.
func mark(b *pgx.Batch) {
	b.Queue(`SELECT pg_logical_emit_message(true, 'lavka', 'repeat')`)
}

// asked is what a group has to read.
type asked struct {
	bills     []int64 // sorted
	users     []int64
	purchases []uuid.UUID
	payments  []int64 // with, in the same order:
	payBills  []int64 // the bill that each would need
	payUsers  []int64 // and its owner
	items     int
}

func askedBy(items []billing.Item) asked {
	bills, users := map[int64]bool{}, map[int64]bool{}
	seen := map[int64]bool{}
	a := asked{items: len(items)}
	for _, item := range items {
		if id := item.BillID(); id != 0 {
			bills[id] = true
		}
		if c := item.Charge; c != nil {
			users[c.UserID] = true
			a.purchases = append(a.purchases, c.PurchaseID)
			continue
		}
		p := item.Payment
		users[p.UserID] = true
		if !seen[p.ID] { // a second one of the same id can only be a repeat or a conflict
			seen[p.ID] = true
			a.payments = append(a.payments, p.ID)
			a.payBills = append(a.payBills, p.BillID)
			a.payUsers = append(a.payUsers, p.UserID)
		}
	}
	a.bills = slices.Sorted(maps.Keys(bills))
	a.users = slices.Sorted(maps.Keys(users))
	return a
}

// needBill says whether a payment that was not decided before, of a known user,
// is for a bill that is not there.
func (a asked) needBill(state billing.State) bool {
	for i, id := range a.payments {
		if state.Payments[id] == nil && state.Bills[a.payBills[i]] == nil && state.Customers[a.payUsers[i]] != nil {
			return true
		}
	}
	return false
}

// read runs steps 1 to 3 in one round trip.
func read(ctx context.Context, tx *pg.Tx, a asked, l lock, making bool) (state billing.State, made []int64, err error) {
	state = billing.State{
		Bills: map[int64]*billing.Bill{}, Held: map[int64]bool{}, Customers: map[int64]*billing.Customer{},
		Charges: map[uuid.UUID]*billing.Charge{}, Payments: map[int64]*billing.Payment{},
	}
	ids := make([]int64, 0, a.items)
	b := &pgx.Batch{}
	// Never when locks are skipped: a bill that another transaction is making holds
	// this one up as a lock does. Left out, its item is held.
	if making {
		queue(b, &made, pgx.RowTo[int64], `
			INSERT INTO billing.bills (id, user_id)
			SELECT DISTINCT ON (p.bill_id) p.bill_id, p.user_id
			FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS p (payment_id, bill_id, user_id, n)
			JOIN billing.customers c ON c.user_id = p.user_id
			WHERE NOT EXISTS (SELECT FROM billing.bills b WHERE b.id = p.bill_id)
			  AND NOT EXISTS (SELECT FROM billing.transactions t WHERE t.payment_id = p.payment_id)
			ORDER BY p.bill_id, p.n
			ON CONFLICT DO NOTHING
			RETURNING id`, a.payments, a.payBills, a.payUsers)
	}
	each(b, func(row pgx.CollectableRow) error {
		var bill billing.Bill
		err := row.Scan(&bill.ID, &bill.UserID, &bill.Balance)
		state.Bills[bill.ID] = &bill
		return err
	}, `SELECT id, user_id, balance FROM billing.bills WHERE id = ANY ($1) ORDER BY id `+string(l), a.bills)
	if len(a.purchases) > 0 {
		each(b, func(row pgx.CollectableRow) error {
			c, err := scanCharge(row)
			state.Charges[c.PurchaseID] = &c
			return err
		}, `SELECT purchase_id, user_id, bill_id, amount, outcome, balance, transaction_id, trace_context
			FROM billing.charges WHERE purchase_id = ANY ($1)`, a.purchases)
	}
	if len(a.payments) > 0 {
		each(b, func(row pgx.CollectableRow) error {
			var p billing.Payment
			err := row.Scan(&p.ID, &p.UserID, &p.BillID, &p.Amount)
			state.Payments[p.ID] = &p
			return err
		}, `SELECT payment_id, user_id, bill_id, amount FROM billing.transactions WHERE payment_id = ANY ($1)`, a.payments)
	}
	each(b, func(row pgx.CollectableRow) error {
		var c billing.Customer
		err := row.Scan(&c.UserID, &c.Status)
		state.Customers[c.UserID] = &c
		return err
	}, `SELECT user_id, status FROM billing.customers WHERE user_id = ANY ($1)`, a.users)
	// Taken under the bills' locks, so that a bill's transactions have rising ids.
	each(b, func(row pgx.CollectableRow) error {
		var id int64
		err := row.Scan(&id, &state.Now)
		ids = append(ids, id)
		return err
	}, `SELECT nextval('billing.transaction_ids'), clock_timestamp() FROM generate_series(1, $1::int)`, a.items)

	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return state, nil, fmt.Errorf("lock and read bills: %w", err)
	}
	state.NextID = func() int64 {
		id := ids[0]
		ids = ids[1:]
		return id
	}
	return state, made, nil
}

// findHeld tells bills that were skipped from those that are missing.
func findHeld(ctx context.Context, tx *pg.Tx, a asked, state *billing.State) error {
	rows, err := tx.Query(ctx, `SELECT id FROM billing.bills WHERE id = ANY ($1)`, a.bills)
	if err != nil {
		return fmt.Errorf("look for held bills: %w", err)
	}
	there, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("look for held bills: %w", err)
	}
	for _, id := range there {
		if state.Bills[id] == nil {
			state.Held[id] = true
		}
	}
	return nil
}

// write is step 5. The inserts never say ON CONFLICT: a double would be a bug, and
// has to fail.
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
		payments, purchases := make([]*int64, n), make([]*uuid.UUID, n)
		for i, t := range c.Transactions {
			ids[i], bills[i], users[i] = t.ID, t.BillID, t.UserID
			amounts[i], after[i] = int64(t.Amount), int64(t.BalanceAfter)
			payments[i], purchases[i] = t.PaymentID, t.PurchaseID
		}
		b.Queue(`
			INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, payment_id, purchase_id)
			SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::uuid[])`,
			ids, bills, users, amounts, after, payments, purchases)
	}
	if n := len(c.Charges); n > 0 {
		ids, outcomes := make([]uuid.UUID, n), make([]string, n)
		users, bills, amounts := make([]*int64, n), make([]*int64, n), make([]*int64, n)
		balances, transactions, traces := make([]*int64, n), make([]*int64, n), make([]string, n)
		for i, d := range c.Charges {
			ids[i], outcomes[i], transactions[i], traces[i] = d.PurchaseID, string(d.Outcome), d.TransactionID, d.Trace
			if !d.Unreadable {
				amount := int64(d.Amount)
				users[i], bills[i], amounts[i] = &d.UserID, &d.BillID, &amount
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
	return b
}

func scanCharge(row pgx.CollectableRow) (billing.Charge, error) {
	var c billing.Charge
	var user, bill, amount, balance *int64
	err := row.Scan(&c.PurchaseID, &user, &bill, &amount, &c.Outcome, &balance, &c.TransactionID, &c.Trace)
	if user == nil || bill == nil || amount == nil {
		c.Unreadable = true
	} else {
		c.UserID, c.BillID, c.Amount = *user, *bill, money.Amount(*amount)
	}
	if balance != nil {
		b := money.Amount(*balance)
		c.Balance = &b
	}
	return c, err
}

// each has f called with every row of a statement in a batch.
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

// queue collects the rows of a statement in a batch.
func queue[T any](b *pgx.Batch, into *[]T, scan pgx.RowToFunc[T], sql string, args ...any) {
	b.Queue(sql, args...).Query(func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, scan)
		return err
	})
}

// groupTimeout bounds one try of a group. The server's own limits are shorter.
const groupTimeout = 15 * time.Second
