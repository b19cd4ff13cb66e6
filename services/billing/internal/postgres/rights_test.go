package postgres_test

import (
	"log/slog"
	"sync"
	"testing"

	"lavka/libs/service/pg"
	"lavka/services/billing/internal/billing"
	"lavka/services/billing/internal/postgres"
)

// The database role must not be able to do any of this, even if the service has a
// bug.
func TestTheServiceCannotRewriteTheLedger(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 1000), purchase(1, 10, 1)})
	for _, sql := range []string{
		`UPDATE billing.transactions SET amount = 1`,
		`DELETE FROM billing.transactions`,
		`TRUNCATE billing.transactions`,
		`UPDATE billing.charges SET outcome = 'expired'`,
		`DELETE FROM billing.charges`,
		`UPDATE billing.reversals SET total = 0`,
		`DELETE FROM billing.reversals`,
		`UPDATE billing.refunds SET amount = 1`,
		`DELETE FROM billing.refunds`,
		`UPDATE billing.opened SET level = 9`,
		`DELETE FROM billing.bills`,
		`UPDATE billing.bills SET user_id = 2`,
		`DELETE FROM billing.customers`,
		`DELETE FROM billing.refused_payments`,
		`UPDATE billing.refused_payments SET amount = '1'`,
		`DELETE FROM billing.rejected_messages`,
		`UPDATE billing.verifications SET difference = NULL`,
		`DELETE FROM billing.verifications`,
		`INSERT INTO billing.verifications (at, took, bills, transactions, charges) VALUES ('2099-01-01', '1s', 0, 0, 0)`,
		`UPDATE billing.comparisons SET difference = NULL`,
		`DELETE FROM billing.comparisons`,
		`INSERT INTO billing.comparisons (at, took) VALUES ('2099-01-01', '1s')`,
		`UPDATE billing.schema_version SET version_id = 99`,
		`SELECT setval('billing.transaction_ids', 1)`,
		`CREATE TABLE billing.mine (id int)`,
		`ALTER TABLE billing.bills ADD COLUMN mine int`,
		`DROP TABLE billing.transactions`,
		`CREATE SCHEMA mine`,
		`CREATE TABLE public.mine (id int)`,
		`SET ROLE billing_owner`,
		`SET ROLE catalog`,
		`CREATE TABLE auth.mine (id int)`,
		`CREATE TABLE catalog.mine (id int)`,
	} {
		_, err := s.pool.Exec(t.Context(), sql)
		if pg.Code(err) != "42501" {
			t.Errorf("%s: %v, want insufficient_privilege", sql, err)
		}
	}
	// The role may write the balance, but not a value out of bounds.
	for _, sql := range []string{`UPDATE billing.bills SET balance = -1`, `UPDATE billing.bills SET balance = 7000000000000001`} {
		if _, err := s.pool.Exec(t.Context(), sql); pg.Code(err) != "23514" {
			t.Errorf("%s: %v, want check_violation", sql, err)
		}
	}
	s.verify(t)
}

func TestConcurrentMigrations(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	probe := s.probe(t)
	s.exec(t, `DROP SCHEMA billing CASCADE; CREATE SCHEMA billing AUTHORIZATION billing_owner; GRANT USAGE ON SCHEMA billing TO billing`)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if err := pg.Migrate(t.Context(), s.db.URL("billing_owner"), postgres.Schema, postgres.Migrations, slog.New(slog.DiscardHandler)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := probe.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if n := s.count(t, `billing.schema_version WHERE version_id = 1`); n != 1 {
		t.Errorf("version 1 was applied %d times", n)
	}
}

func (s *shop) probe(t *testing.T) *pg.Probe {
	t.Helper()
	probe, err := pg.NewProbe(s.db.URL("billing"), "billing", postgres.Schema, postgres.Migrations)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(probe.Close)
	return probe
}

func TestNotReadyOnAnOlderSchema(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	probe := s.probe(t)
	if err := probe.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.exec(t, `INSERT INTO billing.schema_version (version_id, is_applied) VALUES (99, true)`)
	if err := probe.Ready(t.Context()); err != nil {
		t.Errorf("a newer schema: %v", err)
	}
	s.exec(t, `DELETE FROM billing.schema_version WHERE version_id > 0`)
	if err := probe.Ready(t.Context()); err == nil {
		t.Error("ready although the schema is older than this release needs")
	}
}

func TestKeptPaymentsAndMessages(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := *payment(7, 404, 10, 500)
	for range 3 {
		if err := s.RecordRefused(t.Context(), p, "user_not_found"); err != nil {
			t.Fatal(err)
		}
	}
	p.AmountText = "5.00" // a different text counts as different content
	if err := s.RecordRefused(t.Context(), p, "user_not_found"); err != nil {
		t.Fatal(err)
	}
	var times []int64
	err := s.RefusedPayments(t.Context(), func(r billing.RefusedPayment) error { times = append(times, r.Times); return nil })
	if err != nil || len(times) != 2 || times[0] != 3 || times[1] != 1 {
		t.Errorf("%v, %v", times, err)
	}

	first, err := s.RecordRejected(t.Context(), nil, make([]byte, 9000), "not JSON")
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.RecordRejected(t.Context(), nil, make([]byte, 9000), "not JSON")
	if err != nil || !again.Equal(first) {
		t.Errorf("first seen %v, then %v: %v", first, again, err)
	}
	var kept []postgres.RejectedMessage
	err = s.RejectedMessages(t.Context(), func(m postgres.RejectedMessage) error { kept = append(kept, m); return nil })
	if err != nil || len(kept) != 1 || kept[0].Times != 2 || len(kept[0].Body) != 4096 {
		t.Errorf("%d recorded, %v", len(kept), err)
	}
}
