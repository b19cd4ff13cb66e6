package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"lavka/libs/service/schemacheck"
	"lavka/services/billing/internal/billing"
	"lavka/services/billing/internal/postgres"
)

// Each corruption bypasses the constraints, as a restore from a damaged disk might.
// Verify must find it and name the bill.
func TestVerifyFindsEveryDifference(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"a balance off by one cent":          {`UPDATE billing.bills SET balance = balance + 1 WHERE id = 10`, "bill 10: its balance is 601 "},
		"a negative balance":                 {`UPDATE billing.bills SET balance = -1 WHERE id = 20`, "bill 20: "},
		"a changed amount":                   {`UPDATE billing.transactions SET amount = amount + 1 WHERE bill_id = 10 AND amount > 0`, "bill 10: "},
		"a lost transaction":                 {`DELETE FROM billing.transactions WHERE bill_id = 10 AND amount < 0`, "bill 10: "},
		"a broken chain":                     {`UPDATE billing.transactions SET balance_after = 7 WHERE bill_id = 10 AND amount > 0`, "bill 10: "},
		"a lost bill":                        {`DELETE FROM billing.bills WHERE id = 20`, "bill 20: "},
		"a bill of another user":             {`UPDATE billing.bills SET user_id = 3 WHERE id = 20`, "bill 20: "},
		"a bill without a customer":          {`ALTER TABLE billing.bills DROP CONSTRAINT IF EXISTS bills_user_id_fkey; UPDATE billing.bills SET user_id = 99 WHERE id = 20; UPDATE billing.transactions SET user_id = 99 WHERE bill_id = 20`, "bill 20: it belongs to user 99, who is not a customer"},
		"a lost charge":                      {`DELETE FROM billing.charges WHERE outcome = 'settled'`, "bill 10: "},
		"a charge of a different amount":     {`UPDATE billing.charges SET amount = 401 WHERE outcome = 'settled'`, "bill 10: "},
		"a charge on another bill":           {`UPDATE billing.charges SET bill_id = 20 WHERE outcome = 'settled'`, "bill 10: "},
		"a decline that points to a debit":   {`UPDATE billing.charges SET outcome = 'expired' WHERE outcome = 'settled'`, "bill 10: "},
		"a settled charge without its debit": {`UPDATE billing.charges SET outcome = 'settled' WHERE outcome = 'insufficient_funds'`, "bill 20: "},
		"a payment credited twice": {`
			INSERT INTO billing.transactions SELECT 1000, bill_id, user_id, amount, 1200, payment_id, purchase_id FROM billing.transactions WHERE bill_id = 20;
			UPDATE billing.bills SET balance = 1200 WHERE id = 20;
			UPDATE billing.transactions SET balance_after = 1200 WHERE id = 1000`, "bill 20: payment 2 appears 2 times"},
		"a settled charge without a balance":  {`UPDATE billing.charges SET balance = NULL WHERE outcome = 'settled'`, "bill 10: "},
		"a settled charge without a user":     {`UPDATE billing.charges SET user_id = NULL, bill_id = NULL, amount = NULL WHERE outcome = 'settled'`, "bill 10: "},
		"a duplicate decision":                {`INSERT INTO billing.charges SELECT * FROM billing.charges WHERE outcome = 'settled'`, "bill 10: the decision on purchase"},
		"a duplicate decline":                 {`INSERT INTO billing.charges SELECT * FROM billing.charges WHERE outcome <> 'settled'`, "bill 20: the decision on purchase"},
		"a duplicate bill":                    {`INSERT INTO billing.bills SELECT * FROM billing.bills WHERE id = 20`, "bill 20: bill 20 appears 2 times"},
		"a decline with a transaction":        {`UPDATE billing.charges SET transaction_id = 4711 WHERE outcome <> 'settled'`, "bill 20: "},
		"a decline although there was enough": {`UPDATE billing.charges SET balance = amount WHERE outcome <> 'settled'`, "bill 20: "},
		"a decline on a bill that is missing": {`UPDATE billing.charges SET bill_id = 30 WHERE outcome <> 'settled'`, "bill 30: "},
		"a decline on another user's bill":    {`UPDATE billing.charges SET bill_id = 10 WHERE outcome <> 'settled'`, "bill 10: "},
		"a balance beyond the limit":          {`UPDATE billing.bills SET balance = 7000000000000001 WHERE id = 20; UPDATE billing.transactions SET amount = 7000000000000001, balance_after = 7000000000000001 WHERE bill_id = 20`, "bill 20: "},
		"a transaction of no type": {`
			INSERT INTO billing.transactions VALUES (1000, 20, 2, 5, 605, NULL, NULL);
			UPDATE billing.bills SET balance = 605 WHERE id = 20`, "bill 20: transaction 1000 of 5 is not of one type"},
		"a transaction of two types": {`UPDATE billing.transactions SET reversal_id = 7 WHERE bill_id = 10 AND amount < 0`, "bill 10: transaction "},
		"a refund that debits":       {`UPDATE billing.transactions SET refund_id = '00000000-0000-7000-8000-000000000000', purchase_id = NULL WHERE bill_id = 10 AND amount < 0`, "bill 10: "},
		"a reversal that credits":    {`UPDATE billing.transactions SET reversal_id = 7, payment_id = NULL WHERE bill_id = 20`, "bill 20: transaction "},
		"a refund credited twice": {`
			UPDATE billing.transactions SET refund_id = '00000000-0000-7000-8000-000000000000', payment_id = NULL WHERE payment_id IS NOT NULL`, "appears 2 times"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 1000), payment(2, 2, 20, 600), purchase(1, 10, 400), purchase(2, 20, 601)})
			v, err := s.Verify(t.Context())
			if err != nil || v != (postgres.Verified{Bills: 2, Transactions: 3, Charges: 2}) {
				t.Fatalf("before: %+v, %v", v, err)
			}
			s.unguard(t)
			s.exec(t, c.sql)
			_, err = s.Verify(t.Context())
			if !errors.Is(err, postgres.ErrDifference) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("found %v, want %q", err, c.want)
			}
		})
	}
}

// Of purchase 1 for 4 from bill 10, 1 and then 2 are refunded; 2 more are declined.
// Each corruption leaves every balance as it is.
func TestVerifyFindsEveryDifferenceOfRefunds(t *testing.T) {
	t.Parallel()
	const first, second, third = `(SELECT min(id) FROM billing.refunds)`, `(SELECT max(id) FROM billing.refunds WHERE outcome = 'refunded')`, `(SELECT max(id) FROM billing.refunds)`
	for name, c := range map[string]struct{ sql, want string }{
		"a lost decision":                     {`DELETE FROM billing.refunds WHERE id = ` + second, "bill 10: refund "},
		"a lost last decision":                {`DELETE FROM billing.refunds WHERE id >= ` + second, "bill 10: transaction "},
		"a duplicate decision":                {`INSERT INTO billing.refunds SELECT * FROM billing.refunds WHERE id = ` + first, "bill 10: the decision on refund "},
		"a decision that gave more":           {`UPDATE billing.refunds SET amount = 150 WHERE id = ` + first, "has refunded_after 100, and with it 150 were refunded"},
		"a sum without the one before":        {`UPDATE billing.refunds SET refunded_after = 200 WHERE id = ` + second, "has refunded_after 200, and with it 300 were refunded"},
		"more than the charge":                {`UPDATE billing.charges SET amount = 250 WHERE outcome = 'settled'; UPDATE billing.transactions SET amount = -250 WHERE purchase_id IS NOT NULL; UPDATE billing.transactions SET amount = 850, balance_after = 850 WHERE payment_id = 1; UPDATE billing.refunds SET refundable = 0 WHERE outcome <> 'refunded'`, "bill 10: refund "},
		"another purchase":                    {`UPDATE billing.refunds SET purchase_id = refund_id WHERE id = ` + first, "bill 10: refund "},
		"another bill":                        {`UPDATE billing.refunds SET bill_id = 20 WHERE id = ` + first, "bill 20: refund "},
		"another user":                        {`UPDATE billing.refunds SET user_id = 2 WHERE id = ` + first, "bill 10: refund "},
		"a credit of another refund":          {`UPDATE billing.transactions SET refund_id = '00000000-0000-7000-8000-000000000000' WHERE id = ` + first, "bill 10: transaction "},
		"a refund credited twice":             {`UPDATE billing.transactions SET refund_id = (SELECT refund_id FROM billing.refunds WHERE id = ` + first + `) WHERE refund_id IS NOT NULL`, "appears 2 times"},
		"a decline that was credited":         {`UPDATE billing.refunds SET outcome = 'bill_owes', refunded_after = 0 WHERE id = ` + first + `; UPDATE billing.refunds SET refunded_after = refunded_after - 100 WHERE id > ` + first + `; UPDATE billing.refunds SET refundable = 200 WHERE id = ` + third, "bill 10: "},
		"a refund that was not credited":      {`UPDATE billing.refunds SET outcome = 'refunded', refundable = NULL, refunded_after = 400, amount = 100 WHERE id = ` + third, "bill 10: refund "},
		"a decline although there was enough": {`UPDATE billing.refunds SET amount = 100 WHERE id = ` + third, "was declined with 100 refundable"},
		"a decline with a wrong rest":         {`UPDATE billing.refunds SET refundable = 99 WHERE id = ` + third, "was declined with 99 refundable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			bought := purchase(1, 10, 400)
			s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 1000), payment(2, 2, 20, 600), bought})
			s.Settle(t.Context(), []billing.Item{refund(bought, 100), refund(bought, 200), refund(bought, 200)})
			if _, err := s.Verify(t.Context()); err != nil {
				t.Fatalf("before: %v", err)
			}
			s.unguard(t)
			s.exec(t, c.sql)
			_, err := s.Verify(t.Context())
			if !errors.Is(err, postgres.ErrDifference) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("found %v, want %q", err, c.want)
			}
		})
	}
}

// Payment 1 of 10 to bill 10: 4 are reversed, 5 spent, then 8 in all reversed with a
// shortfall of 3. Each corruption leaves every balance as it is.
func TestVerifyFindsEveryDifferenceOfReversals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"a lost decision":                       {`DELETE FROM billing.reversals WHERE reversal_id = 1`, "bill 10: "},
		"a duplicate decision":                  {`INSERT INTO billing.reversals SELECT * FROM billing.reversals WHERE reversal_id = 1`, "bill 10: the decision on reversal 1 appears 2 times"},
		"a decision that debited more":          {`UPDATE billing.reversals SET debited = 401, due = 401, total = 401 WHERE reversal_id = 1`, "bill 10: reversal 2 of 800, after 401, has 400 due"},
		"a total that is not cumulative":        {`UPDATE billing.reversals SET total = 900 WHERE reversal_id = 2`, "bill 10: reversal 2 of 900, after 400, has 400 due"},
		"more than the payment":                 {`UPDATE billing.reversals SET total = 1001, due = 1001, shortfall = 601 WHERE reversal_id = 1`, "bill 10: reversal 1 of 1001"},
		"a decision for another bill":           {`UPDATE billing.reversals SET bill_id = 20 WHERE reversal_id = 1`, "bill 20: "},
		"an unknown payment":                    {`UPDATE billing.reversals SET payment_id = 404`, "bill 10: reversal 1 of 400 on a bill of user 1 does not match payment 404: nothing"},
		"a debit of another reversal":           {`UPDATE billing.transactions SET reversal_id = 9 WHERE reversal_id = 1`, "bill 10: transaction "},
		"a shortfall although there was enough": {`UPDATE billing.reversals SET shortfall = 100, debited = 300 WHERE reversal_id = 1; UPDATE billing.transactions SET amount = -300, balance_after = 700 WHERE reversal_id = 1; UPDATE billing.transactions SET balance_after = 200 WHERE purchase_id IS NOT NULL; UPDATE billing.charges SET balance = 200; UPDATE billing.transactions SET balance_after = 100 WHERE reversal_id = 2; UPDATE billing.bills SET balance = 100`, "bill 10: reversal 1 fell short by 100 and left 700"},
		"due that no one debited":               {`UPDATE billing.reversals SET shortfall = 0 WHERE reversal_id = 2`, "bill 10: reversal 2 of 800, after 400, has 400 due, of which 100 is debited and 0 falls short"},
		"a shortfall alone, with money left":    {`UPDATE billing.reversals SET id = 2 WHERE reversal_id = 3`, "bill 10: "},
		"a reversal debited twice":              {`UPDATE billing.transactions SET reversal_id = 1 WHERE reversal_id = 2`, "bill 10: reversal 1 appears 2 times"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 1000)})
			s.reverse(t, s.Store, 1, 1, 400)
			s.Settle(t.Context(), []billing.Item{purchase(1, 10, 500)})
			s.reverse(t, s.Store, 2, 1, 800)
			s.reverse(t, s.Store, 3, 1, 850)
			if _, err := s.Verify(t.Context()); err != nil {
				t.Fatalf("before: %v", err)
			}
			s.unguard(t)
			s.exec(t, c.sql)
			_, err := s.Verify(t.Context())
			if !errors.Is(err, postgres.ErrDifference) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("found %v, want %q", err, c.want)
			}
		})
	}
}

// unguard drops what would refuse a corruption.
func (s *shop) unguard(t *testing.T) {
	t.Helper()
	s.exec(t, `
		DO $$ DECLARE c record; BEGIN
			FOR c IN SELECT conrelid::regclass AS tbl, conname FROM pg_constraint WHERE connamespace = 'billing'::regnamespace AND contype <> 'f' LOOP
				EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I CASCADE', c.tbl, c.conname);
			END LOOP;
			FOR c IN SELECT indexrelid::regclass AS index FROM pg_index WHERE indisunique AND indrelid IN ('billing.transactions'::regclass, 'billing.reversals'::regclass) LOOP
				EXECUTE format('DROP INDEX %s', c.index);
			END LOOP;
		END $$`)
}

// What no sum shows. Each damage leaves the ledger as it is.
func TestVerifyFindsWhatTheLedgerLacks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"a sequence that is behind":               {`SELECT setval('billing.transaction_ids', 1)`, "the sequence billing.transaction_ids has reached 1, but the highest id in billing.transactions is "},
		"the sequence of a column that is behind": {`INSERT INTO billing.verifications (id, took, difference) OVERRIDING SYSTEM VALUE VALUES (9, '1s', 'x')`, "the sequence billing.verifications_id_seq has reached 0, but the highest id in billing.verifications is 9"},
		"a guard that is missing":                 {`DROP INDEX billing.transactions_payment`, "the unique index billing.transactions_payment is missing, and nothing else refuses duplicates; as billing_owner, run: CREATE UNIQUE INDEX transactions_payment ON billing.transactions USING btree (payment_id) WHERE (payment_id IS NOT NULL)"},
		"a primary key that is missing":           {`ALTER TABLE billing.charges DROP CONSTRAINT charges_pkey`, "the unique index billing.charges_pkey is missing"},
		"a guard that is invalid":                 {`UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'billing.transactions_purchase'::regclass`, "the unique index billing.transactions_purchase is invalid, and may accept duplicates; run billing migrate"},
		"a guard of something else":               {`DROP INDEX billing.transactions_payment; CREATE UNIQUE INDEX transactions_payment ON billing.transactions (payment_id, id)`, "the unique index billing.transactions_payment is another one"},
		"an index that is not unique":             {`DROP INDEX billing.transactions_payment; CREATE INDEX transactions_payment ON billing.transactions (payment_id)`, "the unique index billing.transactions_payment is missing"},
		"a restore without after-restore":         {`UPDATE billing.lineage SET timeline = timeline + 1`, "billing after-restore has not been run"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 1000), payment(2, 2, 20, 600), purchase(1, 10, 400)})
			if _, err := s.Verify(t.Context()); err != nil {
				t.Fatalf("before: %v", err)
			}
			s.exec(t, c.sql)
			_, err := s.Verify(t.Context())
			if !errors.Is(err, schemacheck.ErrFound) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("found %v, want %q", err, c.want)
			}
		})
	}
}
