package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/services/billing/internal/billing"
)

// kinds are conditions, one of which holds for each row (the constraint
// transactions_one_id). For each there are indexes of its rows by user and by bill, and
// no index has the rows of all kinds: each row pays for one kind only
// (docs/adr/0087).
var kinds = map[string]string{
	billing.TypePayment:  `payment_id IS NOT NULL`,
	billing.TypePurchase: `purchase_id IS NOT NULL`,
	billing.TypeRefund:   `refund_id IS NOT NULL`,
	billing.TypeReversal: `reversal_id IS NOT NULL`,
}

const transactionColumns = `id, bill_id, user_id, amount, balance_after, payment_id, purchase_id, refund_id, reversal_id, created_at`

func ledger() list[billing.Transaction] {
	return list[billing.Transaction]{
		table: "billing.transactions", id: "id", at: "created_at", columns: transactionColumns,
		place: func(t billing.Transaction) (int64, time.Time) { return t.ID, t.CreatedAt },
	}
}

// Transactions returns a user's transactions, newest first; none if f.BillID is not
// the user's bill.
func (s *Store) Transactions(ctx context.Context, f billing.TransactionFilter) ([]billing.Transaction, error) {
	l := ledger()
	l.when = f.When
	if f.BillID != nil {
		l.of("bill_id", *f.BillID)
		l.where(`EXISTS (SELECT FROM billing.bills WHERE id = $2 AND user_id = %s)`, f.UserID)
	} else {
		l.of("user_id", f.UserID)
	}
	switch kind, ok := kinds[f.Type]; {
	case ok:
		l.where(kind)
	case f.Type == "":
		l.merged = slices.Sorted(maps.Values(kinds))
	default:
		return nil, fmt.Errorf("list transactions: unknown type %q", f.Type)
	}
	if !f.When.Open() || f.Limit > pg.PageMax {
		return l.newest(ctx, expensively(s, scanTransaction, "list transactions of a time"), f.Before, f.Limit)
	}
	return l.newest(ctx, func(ctx context.Context, sql string, args ...any) ([]billing.Transaction, error) {
		return pg.Collect(ctx, s.reads, "list transactions", scanTransaction, sql, args...)
	}, f.Before, f.Limit)
}

// Ledger returns transactions of all users, newest first. f must have passed its Check.
func (s *Store) Ledger(ctx context.Context, f billing.LedgerFilter) ([]billing.Transaction, error) {
	l := ledger()
	l.when = f.When
	switch {
	case f.UserID != nil:
		l.merged = slices.Sorted(maps.Values(kinds))
		l.of("user_id", *f.UserID)
	case f.BillID != nil:
		l.merged = slices.Sorted(maps.Values(kinds))
		l.of("bill_id", *f.BillID)
	case f.PaymentID != nil:
		l.where(`payment_id = %s`, *f.PaymentID)
	case f.Type == billing.TypePayment:
		return s.payments(ctx, f)
	case f.Type == billing.TypePurchase:
		// The charges have an index of purchases in this order; among the transactions,
		// they may be behind any number of payments.
		l.table, l.id, l.columns = "billing.charges c", "transaction_id", "t.*"
		l.join = `CROSS JOIN LATERAL (SELECT ` + transactionColumns + ` FROM billing.transactions WHERE id = c.transaction_id) AS t`
		l.where(`transaction_id IS NOT NULL`)
	}
	return l.newest(ctx, expensively(s, scanTransaction, "list ledger"), f.Before, f.Limit)
}

// payments returns the payments of all users, newest first, in the order of
// payments_by_time.
func (s *Store) payments(ctx context.Context, f billing.LedgerFilter) ([]billing.Transaction, error) {
	where, args := kinds[billing.TypePayment], []any{f.Limit}
	add := func(condition string, value any) {
		args = append(args, value)
		where += fmt.Sprintf(` AND `+condition, len(args))
	}
	if f.Before != nil { // the time of that row, or of the one before it
		add(`(created_at, id) < ((SELECT created_at FROM billing.transactions WHERE id <= $%[1]d ORDER BY id DESC LIMIT 1), $%[1]d)`, *f.Before)
	}
	if f.When.To != nil {
		add(`created_at < $%d`, *f.When.To)
	}
	if f.When.From != nil {
		add(`created_at >= $%d`, *f.When.From)
	}
	page := pg.Page
	if f.Limit > pg.PageMax {
		page = pg.Part
	}
	return pg.CollectExpensive(ctx, s.expensive, "list payments", scanTransaction,
		page(`SELECT `+transactionColumns+` FROM billing.transactions WHERE `+where+` ORDER BY created_at DESC, id DESC`), args...)
}

// BalanceAt returns what a bill held at a time: the balance after its last transaction
// until then. Within a bill, ids and times rise together.
func (s *Store) BalanceAt(ctx context.Context, billID int64, at time.Time) (billing.Balance, error) {
	scan := func(row pgx.CollectableRow) (b billing.Balance, err error) {
		err = row.Scan(&b.TransactionID, &b.Amount)
		return b, err
	}
	after := at.Truncate(time.Microsecond).Add(time.Microsecond) // the next time that a row can have
	var last []string                                            // of each kind
	for _, kind := range slices.Sorted(maps.Values(kinds)) {
		last = append(last, `(
			SELECT id, balance_after FROM billing.transactions
			WHERE `+kind+` AND bill_id >= $1 AND (bill_id, id) < ($1, (`+pg.FirstOf("billing.transactions", kind, "bill_id", "$1", "created_at", "$2")+`))
			ORDER BY bill_id DESC, id DESC LIMIT 1)`)
	}
	found, err := pg.CollectExpensive(ctx, s.expensive, "read balance at a time", scan, strings.Join(last, ` UNION ALL `)+` ORDER BY id DESC LIMIT 1`, billID, after)
	if err != nil || len(found) == 0 {
		return billing.Balance{}, err
	}
	return found[0], nil
}

func scanTransaction(row pgx.CollectableRow) (t billing.Transaction, err error) {
	err = row.Scan(&t.ID, &t.BillID, &t.UserID, &t.Amount, &t.BalanceAfter, &t.PaymentID, &t.PurchaseID, &t.RefundID, &t.ReversalID, &t.CreatedAt)
	switch {
	case err != nil:
		return t, err
	case t.PaymentID != nil:
		t.Type = billing.TypePayment
	case t.PurchaseID != nil:
		t.Type = billing.TypePurchase
	case t.RefundID != nil:
		t.Type = billing.TypeRefund
	case t.ReversalID != nil:
		t.Type = billing.TypeReversal
	default:
		return t, fmt.Errorf("transaction %d is of a type that this release does not know", t.ID)
	}
	return t, nil
}
