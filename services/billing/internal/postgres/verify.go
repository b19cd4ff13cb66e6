package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/libs/service/schemacheck"
	"lavka/libs/service/verification"
)

// Verified counts the rows that Verify checked.
type Verified struct{ Bills, Transactions, Charges int64 }

// ErrDifference means that the ledger does not add up.
var ErrDifference = errors.New("the ledger does not add up")

// checks find the first place, in order of bill, where the ledger does not add
// up. Each selects a bill's id and a sentence that describes the difference.
var checks = []struct{ what, sql string }{
	{"duplicate bills", duplicates("bills", "id", "id", "bill")},
	{"duplicate transactions", duplicates("transactions", "id", "bill_id", "transaction")},
	{"payments credited twice", duplicates("transactions", "payment_id", "bill_id", "payment")},
	{"purchases charged twice", duplicates("transactions", "purchase_id", "bill_id", "purchase")},
	{"refunds credited twice", duplicates("transactions", "refund_id", "bill_id", "refund")},
	{"reversals debited twice", duplicates("transactions", "reversal_id", "bill_id", "reversal")},
	{"reversals decided twice", duplicates("reversals", "reversal_id", "bill_id", "the decision on reversal")},
	{"refunds decided twice", duplicates("refunds", "refund_id", "bill_id", "the decision on refund")},
	{"purchases decided twice", duplicates("charges", "purchase_id", "bill_id", "the decision on purchase")},
	{"transactions with two charges", duplicates("charges", "transaction_id", "bill_id", "the charge of transaction")},
	{"balances", `
		SELECT b.id, format('its balance is %s and its transactions sum to %s', b.balance, coalesce(t.total, 0))
		FROM billing.bills b LEFT JOIN (SELECT bill_id, sum(amount) AS total FROM billing.transactions GROUP BY bill_id) t ON t.bill_id = b.id
		WHERE b.balance IS DISTINCT FROM coalesce(t.total, 0) OR b.balance NOT BETWEEN 0 AND 7000000000000000 ORDER BY b.id LIMIT 1`},
	{"the chain of balances", `
		SELECT bill_id, format('transaction %s has balance_after %s, but the balance before it, %s, plus its amount, %s, is %s', id, balance_after, before, amount, before + amount)
		FROM (SELECT id, bill_id, amount, balance_after, lag(balance_after, 1, 0::bigint) OVER (PARTITION BY bill_id ORDER BY id) AS before
		      FROM billing.transactions) t
		WHERE balance_after IS DISTINCT FROM before + amount OR balance_after NOT BETWEEN 0 AND 7000000000000000 ORDER BY bill_id, id LIMIT 1`},
	{"transactions without a bill, or with another owner's", `
		SELECT t.bill_id, format('transaction %s belongs to user %s, the bill to %s', t.id, t.user_id, coalesce(b.user_id::text, 'no one: it does not exist'))
		FROM billing.transactions t LEFT JOIN billing.bills b ON b.id = t.bill_id
		WHERE b.user_id IS DISTINCT FROM t.user_id ORDER BY t.bill_id, t.id LIMIT 1`},
	{"bills without a customer", `
		SELECT b.id, format('it belongs to user %s, who is not a customer, so that no list of customers shows it', b.user_id)
		FROM billing.bills b LEFT JOIN billing.customers c ON c.user_id = b.user_id
		WHERE c.user_id IS NULL ORDER BY b.id LIMIT 1`},
	{"transactions that are not of one type", `
		SELECT bill_id, format('transaction %s of %s is not of one type: one id must be set, of a payment or refund if it is a credit, of a purchase or reversal if it is a debit', id, amount)
		FROM billing.transactions
		WHERE num_nonnulls(payment_id, purchase_id, refund_id, reversal_id) <> 1
		   OR (payment_id IS NOT NULL OR refund_id IS NOT NULL) IS DISTINCT FROM (amount > 0) OR amount = 0 ORDER BY bill_id, id LIMIT 1`},
	{"debits without their charge", `
		SELECT t.bill_id, format('transaction %s debits %s for purchase %s, which has no matching charge', t.id, -t.amount, t.purchase_id)
		FROM billing.transactions t LEFT JOIN billing.charges c ON c.transaction_id = t.id
		WHERE t.purchase_id IS NOT NULL
		  AND (c.purchase_id, c.outcome, c.bill_id, c.user_id, c.amount, c.balance)
		      IS DISTINCT FROM (t.purchase_id, 'settled'::text, t.bill_id, t.user_id, -t.amount, t.balance_after)
		ORDER BY t.bill_id, t.id LIMIT 1`},
	{"charges without their debit", `
		SELECT coalesce(c.bill_id, 0), format('purchase %s is recorded as %s with transaction %s, which does not match its debit', c.purchase_id, c.outcome, coalesce(c.transaction_id::text, 'none'))
		FROM billing.charges c LEFT JOIN billing.transactions t ON t.purchase_id = c.purchase_id
		WHERE (c.outcome = 'settled') IS DISTINCT FROM (t.id IS NOT NULL) OR c.transaction_id IS DISTINCT FROM t.id
		ORDER BY 1, c.purchase_id LIMIT 1`},
	{"reversals without their payment, or beyond it", `
		SELECT r.bill_id, format('reversal %s of %s on a bill of user %s does not match payment %s: %s on bill %s of user %s', r.reversal_id, r.total, r.user_id,
			r.payment_id, coalesce(p.amount::text, 'nothing'), coalesce(p.bill_id::text, 'none'), coalesce(p.user_id::text, 'none'))
		FROM billing.reversals r LEFT JOIN billing.transactions p ON p.payment_id = r.payment_id
		WHERE (r.bill_id, r.user_id) IS DISTINCT FROM (p.bill_id, p.user_id) OR r.total NOT BETWEEN 0 AND p.amount
		ORDER BY r.bill_id, r.id LIMIT 1`},
	{"what reversals owe", `
		SELECT bill_id, format('reversal %s of %s, after %s, has %s due, of which %s is debited and %s falls short', reversal_id, total, before, due, debited, shortfall)
		FROM (SELECT *, coalesce(max(total) OVER (PARTITION BY payment_id ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
		      FROM billing.reversals) r
		WHERE due IS DISTINCT FROM greatest(0, total - before) OR debited < 0 OR shortfall < 0 OR debited + shortfall IS DISTINCT FROM due
		ORDER BY bill_id, id LIMIT 1`},
	{"debits without their reversal", `
		SELECT t.bill_id, format('transaction %s debits %s for reversal %s, which has no matching decision', t.id, -t.amount, t.reversal_id)
		FROM billing.transactions t LEFT JOIN billing.reversals r ON r.id = t.id
		WHERE t.reversal_id IS NOT NULL
		  AND (r.reversal_id, r.bill_id, r.user_id, r.debited) IS DISTINCT FROM (t.reversal_id, t.bill_id, t.user_id, -t.amount)
		ORDER BY t.bill_id, t.id LIMIT 1`},
	{"reversals without their debit", `
		SELECT r.bill_id, format('reversal %s has debited %s, which is no transaction', r.reversal_id, r.debited)
		FROM billing.reversals r LEFT JOIN billing.transactions t ON t.reversal_id = r.reversal_id AND t.id = r.id
		WHERE (r.debited > 0) IS DISTINCT FROM (t.id IS NOT NULL)
		ORDER BY r.bill_id, r.id LIMIT 1`},
	{"shortfalls although there was enough", `
		SELECT bill_id, format('reversal %s fell short by %s and left %s on the bill', reversal_id, shortfall, balance)
		FROM (SELECT bill_id, id, reversal_id, shortfall, sum(amount) OVER (PARTITION BY bill_id ORDER BY id, shortfall) AS balance
		      FROM (SELECT bill_id, id, NULL::bigint AS reversal_id, 0::bigint AS shortfall, amount FROM billing.transactions
		            WHERE bill_id IN (SELECT bill_id FROM billing.reversals WHERE shortfall > 0)
		            UNION ALL SELECT bill_id, id, reversal_id, shortfall, 0 FROM billing.reversals WHERE shortfall > 0) AS entries) AS short
		WHERE shortfall > 0 AND balance <> 0 ORDER BY bill_id, id LIMIT 1`},
	{"refunds without their charge, or beyond it", `
		SELECT r.bill_id, format('refund %s of %s to user %s, after which %s were refunded, does not match purchase %s: %s for %s on bill %s of user %s', r.refund_id, r.amount,
			r.user_id, r.refunded_after, r.purchase_id, coalesce(c.outcome, 'undecided'), coalesce(c.amount::text, 'nothing'), coalesce(c.bill_id::text, 'none'), coalesce(c.user_id::text, 'none'))
		FROM billing.refunds r LEFT JOIN billing.charges c ON c.purchase_id = r.purchase_id
		WHERE r.outcome <> 'charge_not_found'
		  AND ((c.outcome, c.bill_id, c.user_id) IS DISTINCT FROM ('settled'::text, r.bill_id, r.user_id) OR r.refunded_after > c.amount)
		ORDER BY r.bill_id, r.id LIMIT 1`},
	{"the sums of refunds", `
		SELECT bill_id, format('refund %s of %s, %s, has refunded_after %s, and with it %s were refunded of purchase %s', refund_id, amount, outcome, refunded_after, refunded, purchase_id)
		FROM (SELECT *, sum(CASE outcome WHEN 'refunded' THEN amount ELSE 0 END) OVER (PARTITION BY purchase_id ORDER BY id) AS refunded
		      FROM billing.refunds) r
		WHERE refunded_after IS DISTINCT FROM CASE outcome WHEN 'charge_not_found' THEN 0 ELSE refunded END
		ORDER BY bill_id, id LIMIT 1`},
	{"refunds that were declined although there was enough", `
		SELECT r.bill_id, format('refund %s of %s was declined with %s refundable, and %s of %s were refunded', r.refund_id, r.amount, r.refundable, r.refunded_after, c.amount)
		FROM billing.refunds r JOIN billing.charges c ON c.purchase_id = r.purchase_id
		WHERE r.outcome = 'refund_exceeds' AND (r.refundable IS DISTINCT FROM c.amount - r.refunded_after OR r.refundable >= r.amount)
		ORDER BY r.bill_id, r.id LIMIT 1`},
	{"credits without their refund", `
		SELECT t.bill_id, format('transaction %s credits %s for refund %s, which has no matching decision', t.id, t.amount, t.refund_id)
		FROM billing.transactions t LEFT JOIN billing.refunds r ON r.id = t.id
		WHERE t.refund_id IS NOT NULL
		  AND (r.refund_id, r.outcome, r.bill_id, r.user_id, r.amount) IS DISTINCT FROM (t.refund_id, 'refunded'::text, t.bill_id, t.user_id, t.amount)
		ORDER BY t.bill_id, t.id LIMIT 1`},
	{"refunds without their credit", `
		SELECT r.bill_id, format('refund %s is recorded as %s, which does not match its transaction, %s', r.refund_id, r.outcome, coalesce(t.id::text, 'none'))
		FROM billing.refunds r LEFT JOIN billing.transactions t ON t.refund_id = r.refund_id AND t.id = r.id
		WHERE (r.outcome = 'refunded') IS DISTINCT FROM (t.id IS NOT NULL)
		ORDER BY r.bill_id, r.id LIMIT 1`},
	{"declines for insufficient funds although there was enough", `
		SELECT coalesce(c.bill_id, 0), format('purchase %s for %s was declined for insufficient funds with a balance of %s on a bill of user %s', c.purchase_id, c.amount, c.balance, coalesce(b.user_id::text, 'none'))
		FROM billing.charges c LEFT JOIN billing.bills b ON b.id = c.bill_id
		WHERE c.outcome = 'insufficient_funds' AND ((c.balance < c.amount) IS NOT TRUE OR c.balance < 0 OR b.user_id IS DISTINCT FROM c.user_id)
		ORDER BY 1, c.purchase_id LIMIT 1`},
}

// duplicates returns a query that finds a duplicate in a column whose values must be
// unique.
func duplicates(table, column, bill, what string) string {
	return fmt.Sprintf(`
		SELECT coalesce(min(%[3]s), 0), format('%[4]s %%s appears %%s times', %[2]s, count(*))
		FROM billing.%[1]s WHERE %[2]s IS NOT NULL GROUP BY %[2]s HAVING count(*) > 1 ORDER BY 1 LIMIT 1`, table, column, bill, what)
}

// Verify recomputes the whole ledger, while the shop is running. At the first place where
// the ledger does not add up, it returns ErrDifference with the bill and the sums (in
// minor units). It relies on no index and no constraint. If the ledger adds up, it returns
// [schemacheck.ErrFound] for what is missing that keeps it so.
//
// Each check sees the state of one moment, and needs nothing of what another check has
// seen. With one moment for all, Postgres could remove no old version of a row for as long
// as all checks take together.
func (s *Store) Verify(ctx context.Context) (Verified, error) {
	return s.verify(ctx, func(string) bool { return false }, func(string) {})
}

// ResumeVerify is Verify without the checks that an earlier ResumeVerify has passed since
// a time, if that one was interrupted.
func (s *Store) ResumeVerify(ctx context.Context, since time.Time) (Verified, error) {
	steps, err := pg.Rows(ctx, s.background, "read what was verified", pgx.RowTo[string], `SELECT step FROM billing.verification_steps WHERE passed_at >= $1`, since)
	if err != nil {
		return Verified{}, err
	}
	if len(steps) > 0 {
		s.log.InfoContext(ctx, "an earlier verification was interrupted; this one skips what that one has checked", "checks", len(steps), "of", len(checks))
	}
	unrecorded := false
	record := func(sql string, args ...any) {
		if unrecorded {
			return // a standby is read-only, and a primary that has lost its standby would wait each time
		}
		ctx, cancel := context.WithTimeout(ctx, verification.RecordLimit)
		defer cancel()
		if _, err := s.background.Exec(ctx, sql, args...); err != nil {
			unrecorded = true
			s.log.WarnContext(ctx, "the progress could not be recorded, so an interrupted verification will begin again", "error", err)
		}
	}
	v, err := s.verify(ctx, func(step string) bool { return slices.Contains(steps, step) }, func(step string) {
		record(`INSERT INTO billing.verification_steps (step) VALUES ($1) ON CONFLICT (step) DO UPDATE SET passed_at = statement_timestamp()`, step)
	})
	if err == nil || errors.Is(err, ErrDifference) || errors.Is(err, schemacheck.ErrFound) { // it was not interrupted
		record(`DELETE FROM billing.verification_steps`)
	}
	return v, err
}

func (s *Store) verify(ctx context.Context, skip func(step string) bool, passed func(step string)) (v Verified, err error) {
	for _, check := range checks {
		if skip(check.what) {
			continue
		}
		if err := s.unindexed(ctx, func(tx pgx.Tx) error { return verifyOne(ctx, tx, check.what, check.sql) }); err != nil {
			return v, err
		}
		passed(check.what)
	}
	// One moment for both: a sequence may be ahead of what this moment has of its table, never behind.
	if err := s.unindexed(ctx, func(tx pgx.Tx) error { return schemacheck.Check(ctx, tx, Expected) }); err != nil {
		return v, err
	}
	err = s.unindexed(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			SELECT (SELECT count(*) FROM billing.bills), (SELECT count(*) FROM billing.transactions), (SELECT count(*) FROM billing.charges)`).
			Scan(&v.Bills, &v.Transactions, &v.Charges)
		return pg.Wrap("count", err)
	})
	return v, err
}

// unindexed calls f with a transaction in which Postgres uses no index.
func (s *Store) unindexed(ctx context.Context, f func(pgx.Tx) error) error {
	return pg.Snapshot(ctx, s.background, func(tx pgx.Tx, _ time.Time) error {
		if _, err := tx.Exec(ctx, `SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off`); err != nil {
			return pg.Wrap("use no index", err)
		}
		return f(tx)
	})
}

func verifyOne(ctx context.Context, tx pgx.Tx, what, sql string) error {
	var bill int64
	var found string
	err := tx.QueryRow(ctx, sql).Scan(&bill, &found)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("check %s: %w", what, err)
	}
	return fmt.Errorf("%w: bill %d: %s", ErrDifference, bill, found)
}
