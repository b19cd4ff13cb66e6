package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lavka/libs/pg"
)

// Verified counts what Verify has looked at.
type Verified struct{ Bills, Transactions, Charges int64 }

// ErrDifference is a ledger that does not add up.
var ErrDifference = errors.New("the ledger does not add up")

// checks find the first place, by bill, where the ledger does not add up. Each
// selects a bill and a sentence.
var checks = []struct{ what, sql string }{
	{"balances", `
		SELECT b.id, format('its balance is %s and its transactions sum to %s', b.balance, coalesce(t.total, 0))
		FROM billing.bills b LEFT JOIN (SELECT bill_id, sum(amount) AS total FROM billing.transactions GROUP BY bill_id) t ON t.bill_id = b.id
		WHERE b.balance <> coalesce(t.total, 0) OR b.balance < 0 ORDER BY b.id LIMIT 1`},
	{"the chain of balances", `
		SELECT bill_id, format('transaction %s leaves %s, but %s before it and its own %s make %s', id, balance_after, before, amount, before + amount)
		FROM (SELECT id, bill_id, amount, balance_after, lag(balance_after, 1, 0::bigint) OVER (PARTITION BY bill_id ORDER BY id) AS before
		      FROM billing.transactions) t
		WHERE balance_after <> before + amount OR balance_after < 0 ORDER BY bill_id, id LIMIT 1`},
	{"transactions without a bill, or with another owner's", `
		SELECT t.bill_id, format('transaction %s belongs to user %s, the bill to %s', t.id, t.user_id, coalesce(b.user_id::text, 'nobody: there is no such bill'))
		FROM billing.transactions t LEFT JOIN billing.bills b ON b.id = t.bill_id
		WHERE b.id IS NULL OR b.user_id <> t.user_id ORDER BY t.bill_id, t.id LIMIT 1`},
	{"debits without their charge", `
		SELECT t.bill_id, format('transaction %s takes %s for purchase %s, which has no such charge', t.id, -t.amount, t.purchase_id)
		FROM billing.transactions t LEFT JOIN billing.charges c ON c.transaction_id = t.id
		WHERE t.purchase_id IS NOT NULL
		  AND (c.purchase_id IS DISTINCT FROM t.purchase_id OR c.outcome <> 'settled' OR c.bill_id <> t.bill_id
		       OR c.user_id <> t.user_id OR c.amount <> -t.amount OR c.balance <> t.balance_after)
		ORDER BY t.bill_id, t.id LIMIT 1`},
	{"charges without their debit", `
		SELECT coalesce(c.bill_id, 0), format('purchase %s is %s with transaction %s, which is not its debit', c.purchase_id, c.outcome, coalesce(c.transaction_id::text, 'none'))
		FROM billing.charges c LEFT JOIN billing.transactions t ON t.purchase_id = c.purchase_id
		WHERE (c.outcome = 'settled') <> (t.id IS NOT NULL) OR (t.id IS NOT NULL AND t.id <> c.transaction_id)
		ORDER BY 1, c.purchase_id LIMIT 1`},
	{"payments credited twice", `
		SELECT min(bill_id), format('payment %s was credited %s times', payment_id, count(*))
		FROM billing.transactions WHERE payment_id IS NOT NULL GROUP BY payment_id HAVING count(*) > 1 ORDER BY 1 LIMIT 1`},
	{"purchases charged twice", `
		SELECT min(bill_id), format('purchase %s was charged %s times', purchase_id, count(*))
		FROM billing.transactions WHERE purchase_id IS NOT NULL GROUP BY purchase_id HAVING count(*) > 1 ORDER BY 1 LIMIT 1`},
	{"transactions that are neither payment nor purchase", `
		SELECT bill_id, format('transaction %s of %s is neither a payment nor a purchase', id, amount)
		FROM billing.transactions
		WHERE (payment_id IS NULL) = (purchase_id IS NULL) OR (payment_id IS NOT NULL) <> (amount > 0) OR amount = 0 ORDER BY bill_id, id LIMIT 1`},
}

// Verify recomputes the whole ledger in one snapshot, while the shop goes on,
// and returns ErrDifference with the bill and the sums (in minor units) at the
// first place where it does not add up. It believes no index and no constraint.
func (s *Store) Verify(ctx context.Context) (Verified, error) {
	var v Verified
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return v, pg.Fail("begin", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	_, err = tx.Exec(ctx, `
		SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;
		SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off`)
	if err != nil {
		return v, pg.Fail("set limits", err)
	}
	for _, check := range checks {
		var bill int64
		var found string
		err := tx.QueryRow(ctx, check.sql).Scan(&bill, &found)
		if err == nil {
			return v, fmt.Errorf("%w: bill %d: %s", ErrDifference, bill, found)
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return v, fmt.Errorf("check %s: %w", check.what, err)
		}
	}
	err = tx.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM billing.bills), (SELECT count(*) FROM billing.transactions), (SELECT count(*) FROM billing.charges)`).
		Scan(&v.Bills, &v.Transactions, &v.Charges)
	if err != nil {
		return v, pg.Fail("count", err)
	}
	return v, nil
}
