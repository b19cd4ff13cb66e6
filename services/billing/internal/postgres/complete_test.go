package postgres_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"testing"
	"time"

	"lavka/libs/service/complete"
	"lavka/libs/testkit/waittest"
	"lavka/services/billing/internal/billing"
	"lavka/services/billing/internal/postgres"
)

// follower reads a list by time, and goes on where it was complete.
type follower struct {
	rows *complete.Worker
	list func(context.Context, billing.Window) (map[int64]time.Time, error)
	from time.Time
	seen map[int64]bool
}

func (f *follower) follow(t *testing.T) {
	t.Helper()
	until := f.rows.Until()
	if until == nil || !until.After(f.from) {
		return
	}
	found, err := f.list(t.Context(), billing.Window{From: f.from, To: *until, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for id := range found {
		f.seen[id] = true
	}
	f.from = *until
}

// Not parallel, as what else runs on this server would hold the lists back: the id of a
// transaction is the server's.
//
// The COMMIT of a payment waits for a standby, while later payments are seen. A reader
// who follows the list must find it afterwards: also if the session was terminated, and
// also if it belongs to another role than the reader's.
func TestNoReaderOfPaymentsMissesOne(t *testing.T) {
	for name, c := range map[string]struct {
		role, end string
		list      func(*postgres.Store) func(context.Context, billing.Window) (map[int64]time.Time, error)
		write     func(*testing.T, *postgres.Store, int64)
	}{
		"a credit whose wait is cancelled":      {"billing", "pg_cancel_backend", credits, credit},
		"a credit whose session is terminated":  {"billing", "pg_terminate_backend", credits, credit},
		"a credit by another role":              {"billing_owner", "pg_cancel_backend", credits, credit},
		"a refusal whose wait is cancelled":     {"billing", "pg_cancel_backend", refusals, refuse},
		"a refusal whose session is terminated": {"billing", "pg_terminate_backend", refusals, refuse},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			rows := complete.New(s.pool, slog.New(slog.DiscardHandler))
			go rows.Run(ctx)
			credit(t, s.Store, 1) // creates the bills
			f := &follower{rows: rows, list: c.list(s.Store), from: time.Now().Add(-time.Minute), seen: map[int64]bool{}}
			url, err := url.Parse(s.db.URL(c.role))
			if err != nil {
				t.Fatal(err)
			}
			query := url.Query()
			query.Set("synchronous_commit", "on") // of these sessions alone
			url.RawQuery = query.Encode()
			held, _ := s.open(t, url.String())
			done := make(chan struct{})
			go func() {
				defer close(done)
				c.write(t, held, 2)
			}()
			const waiting = `FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'`
			waittest.Eventually(t, "the COMMIT waits", func() bool {
				return s.count(t, `pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'`) > 0
			})
			waits := time.Now()
			for id := int64(3); time.Since(waits) < 3*time.Second; id++ {
				c.write(t, s.Store, id)
				f.follow(t)
				if f.seen[2] {
					t.Fatal("this test proves nothing: the row is seen")
				}
				time.Sleep(50 * time.Millisecond) // so that there are few payments, and one page has them all
			}
			if all, err := f.list(t.Context(), billing.Window{From: waits.Add(-time.Minute), To: waits.Add(time.Minute), Limit: 100}); err != nil || len(all) < 5 || !all[2].IsZero() {
				t.Fatalf("this test proves nothing: %v %v", all, err)
			}
			for ended := false; !ended; {
				s.exec(t, `SELECT `+c.end+`(pid) `+waiting)
				select {
				case <-done:
					ended = true
				case <-time.After(10 * time.Millisecond):
				}
			}
			end := time.Now()
			waittest.Eventually(t, "the list is complete up to now", func() bool {
				f.follow(t)
				return f.from.After(end)
			})
			all, err := f.list(t.Context(), billing.Window{From: waits.Add(-time.Minute), To: end, Limit: 100})
			if err != nil || all[2].IsZero() {
				t.Fatalf("the row was not written: %v %v", all, err)
			}
			for id, at := range all {
				if !f.seen[id] {
					t.Errorf("the reader has missed %d of %v", id, at)
				}
			}
		})
	}
}

func credits(s *postgres.Store) func(context.Context, billing.Window) (map[int64]time.Time, error) {
	return func(ctx context.Context, w billing.Window) (map[int64]time.Time, error) {
		found, err := s.CreditedWithin(ctx, w)
		all := map[int64]time.Time{}
		for _, p := range found {
			all[p.PaymentID] = p.At.At
		}
		return all, err
	}
}

func refusals(s *postgres.Store) func(context.Context, billing.Window) (map[int64]time.Time, error) {
	return func(ctx context.Context, w billing.Window) (map[int64]time.Time, error) {
		found, err := s.RefusedWithin(ctx, w)
		all := map[int64]time.Time{}
		for _, p := range found {
			all[p.PaymentID] = p.FirstAt
		}
		return all, err
	}
}

// credit credits a payment to a bill of its own, so that it waits for no other.
func credit(t *testing.T, s *postgres.Store, id int64) {
	for _, r := range s.Settle(context.WithoutCancel(t.Context()), []billing.Item{payment(id, 1, id, 1)}) {
		if failed, ok := r.(billing.Poisoned); ok {
			t.Error(failed.Err)
		}
	}
}

func refuse(t *testing.T, s *postgres.Store, id int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if err := s.RecordRefused(ctx, *payment(id, 404, 1, 1), "user_not_found"); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Logf("refusal %d: %v", id, err) // its session was terminated
	}
}

// The times of the lists' rows are taken when the transaction has its id, and not, as by
// now(), when it begins: a list could be said to be complete in between.
func TestTimesFollowTheTransactionID(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for table, insert := range map[string]string{
		"refused_payments": `INSERT INTO billing.refused_payments (content, payment_id, user_id, bill_id, amount, reason) VALUES ('x', 1, 1, 1, '1', 'x') RETURNING first_at`,
		"transactions":     `INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, payment_id) VALUES (1, 1, 1, 1, 1, 1) RETURNING created_at`,
	} {
		tx, err := s.pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var before, at time.Time
		var id *string
		if err := tx.QueryRow(t.Context(), `SELECT clock_timestamp(), pg_current_xact_id_if_assigned()::text`).Scan(&before, &id); err != nil || id != nil {
			t.Fatal(err, id)
		}
		if err := tx.QueryRow(t.Context(), insert).Scan(&at); err != nil {
			t.Fatal(err)
		}
		if table == "refused_payments" {
			var ordered bool
			if err := tx.QueryRow(t.Context(), `SELECT last_at >= first_at FROM billing.refused_payments`).Scan(&ordered); err != nil || !ordered {
				t.Errorf("last_at is before first_at (%v)", err)
			}
		}
		if !at.After(before) {
			t.Errorf("%s: the row has the time %v, and the transaction had no id at %v", table, at, before)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
