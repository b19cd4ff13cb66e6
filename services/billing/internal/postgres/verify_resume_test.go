package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/schemacheck"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
	"lavka/services/billing/internal/billing"
	"lavka/services/billing/internal/postgres"
)

func TestAnInterruptedVerificationGoesOn(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 1000), payment(2, 2, 20, 600), purchase(1, 10, 400)})
	var night time.Time
	if err := s.admin.QueryRow(t.Context(), `SELECT clock_timestamp()`).Scan(&night); err != nil {
		t.Fatal(err)
	}
	s.exec(t, `REVOKE SELECT ON billing.refunds FROM billing`)
	if _, err := s.ResumeVerify(t.Context(), night); err == nil || errors.Is(err, postgres.ErrDifference) {
		t.Fatalf("without a right: %v", err)
	}
	s.exec(t, `GRANT SELECT ON billing.refunds TO billing`)
	// Only a check that has passed would find this.
	s.exec(t, `DROP INDEX billing.transactions_payment;
		INSERT INTO billing.transactions SELECT 1000, bill_id, user_id, amount, 1200, payment_id, purchase_id FROM billing.transactions WHERE bill_id = 20;
		UPDATE billing.bills SET balance = 1200 WHERE id = 20`)
	if _, err := s.Verify(t.Context()); !errors.Is(err, postgres.ErrDifference) {
		t.Errorf("by hand: %v", err)
	}
	if _, err := s.ResumeVerify(t.Context(), night); !errors.Is(err, schemacheck.ErrFound) {
		t.Errorf("the same night: %v", err)
	}
	// That one was completed.
	if _, err := s.ResumeVerify(t.Context(), night); !errors.Is(err, postgres.ErrDifference) {
		t.Errorf("after a complete one: %v", err)
	}
}

// While a check runs, Postgres keeps no old versions of rows for the checks before it.
func TestEachCheckSeesAMomentOfItsOwn(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 1000)})
	// lock holds a table, so that a check waits for it.
	lock := func(table string) pgx.Tx {
		tx, err := pgtest.Connect(t, s.db.AdminURL()).Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), `LOCK TABLE `+table+` IN ACCESS EXCLUSIVE MODE`); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	// waiting returns when the check that waits for a table began, and what time it is.
	waiting := func(table string) (began, now time.Time) {
		waittest.Eventually(t, "a check waits for "+table, func() bool {
			err := s.admin.QueryRow(t.Context(), `
				SELECT a.xact_start, clock_timestamp() FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.relation = $1::regclass AND NOT l.granted`, table).Scan(&began, &now)
			if err != nil && !errors.Is(err, pgx.ErrNoRows) {
				t.Fatal(err)
			}
			return err == nil
		})
		return began, now
	}
	bills, refunds := lock("billing.bills"), lock("billing.refunds")
	verified := make(chan error, 1)
	go func() {
		_, err := s.Verify(t.Context())
		verified <- err
	}()
	_, during := waiting("billing.bills")
	if err := bills.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	began, _ := waiting("billing.refunds")
	if err := refunds.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-verified; err != nil {
		t.Error(err)
	}
	if !began.After(during) {
		t.Errorf("the later check sees a moment before %v, when an earlier check ran: %v", during, began)
	}
}
