package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/postgres"
)

func TestSettleWritesWhatIsPendingAndReadsTheRest(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea := s.product(t, "tea", 350)
	paid, poor, settled := s.mustPlace(t, order(1, tea.ID, "")), s.mustPlace(t, order(1, tea.ID, "")), s.mustPlace(t, order(1, tea.ID, ""))
	first := catalog.Answer{PurchaseID: settled.ID, Status: catalog.Declined, Reason: catalog.Expired}
	if _, err := s.Settle(t.Context(), []catalog.Answer{first}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Settle(t.Context(), []catalog.Answer{
		{PurchaseID: poor.ID, Status: catalog.Declined, Reason: catalog.InsufficientFunds, Balance: new(money.Amount(12))},
		{PurchaseID: settled.ID, Status: catalog.Completed, TransactionID: new(int64(3))},
		{PurchaseID: paid.ID, Status: catalog.Completed, TransactionID: new(int64(42))},
		{PurchaseID: uuid.New(), Status: catalog.Completed, TransactionID: new(int64(4))},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Written) != 2 || len(got.Before) != 1 {
		t.Fatalf("%d written, %d before", len(got.Written), len(got.Before))
	}
	if b := got.Before[0]; b.ID != settled.ID || b.Status != catalog.Declined || b.Reason != catalog.Expired {
		t.Errorf("an answer changed a settled purchase: %+v", b)
	}
	for _, w := range got.Written {
		stored, err := s.Purchase(t.Context(), 1, w.PurchaseID)
		if err != nil {
			t.Fatal(err)
		}
		if w.UserID != 1 || w.At.IsZero() || stored.SettledAt == nil || !stored.SettledAt.Equal(w.At) {
			t.Errorf("stored %+v, returned %+v", stored, w)
		}
		if w.PurchaseID == paid.ID && (stored.Status != catalog.Completed || *stored.TransactionID != 42 || stored.Balance != nil) {
			t.Errorf("paid: %+v", stored)
		}
		if w.PurchaseID == poor.ID && (stored.Status != catalog.Declined || stored.Reason != catalog.InsufficientFunds || *stored.Balance != 12) {
			t.Errorf("poor: %+v", stored)
		}
	}
}

// A session makes its plan for all groups at the first one. In a fresh shop the table
// is empty then, so that every index looks equally good, and what is settled later has
// entries in the indexes of pending purchases until the next vacuum. An answer finds its
// purchase by the id all the same.
func TestSettlingDoesNotWalkWhatWasSettled(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea := s.product(t, "tea", 350)
	s.exec(t, `ALTER TABLE catalog.purchases SET (autovacuum_enabled = off)`)
	w := pgtest.NewWatch(t, s.db)
	pools := pg.OnePool(openPool(t, s.db.URL("catalog"), pg.Open))
	t.Cleanup(pools.Close)
	store := postgres.New(pools, w.Pool(t, openPool(t, s.db.URL("catalog"), pg.OpenForGroups), nil), postgres.Terms{Wait: time.Hour, Expiry: time.Hour})
	settle := func(ctx context.Context, id uuid.UUID) (int, error) {
		settled, err := store.Settle(ctx, []catalog.Answer{{PurchaseID: id, Status: catalog.Completed, TransactionID: new(int64(42))}})
		return len(settled.Written), err
	}
	if _, err := settle(t.Context(), uuid.New()); err != nil { // the plan
		t.Fatal(err)
	}
	s.exec(t, `
		INSERT INTO catalog.purchases (id, user_id, product_id, title, price, bill_id, expires_at, next_send_at)
		SELECT gen_random_uuid(), 1 + n % 100, 1, 'tea', 350, 7, now() + interval '1 hour', now() FROM generate_series(1, 20000) n`)
	s.exec(t, `UPDATE catalog.purchases SET status = 'completed', settled_at = now(), transaction_id = 1`)

	w.Flat(t, 7, []pgtest.Read{{Method: "Settle", Case: "20,000 were settled", Most: 100, Rows: 1, Run: func(ctx context.Context) (int, error) {
		return settle(ctx, s.mustPlace(t, order(1, tea.ID, "")).ID)
	}}})
}

func TestABadAnswerDoesNotHarmItsGroup(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea := s.product(t, "tea", 350)
	s.exec(t, `ALTER TABLE catalog.purchases ADD CONSTRAINT no_thirteen CHECK (transaction_id <> 13)`)
	var answers []catalog.Answer
	for i := range 20 {
		p := s.mustPlace(t, order(1, tea.ID, ""))
		answers = append(answers, catalog.Answer{PurchaseID: p.ID, Status: catalog.Completed, TransactionID: new(int64(i))})
	}
	got, err := s.Settle(t.Context(), answers)
	if err == nil || len(got.Written) != 19 {
		t.Errorf("%d written, %v", len(got.Written), err)
	}
}

func TestDueClaimsOnceAndBacksOff(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea := s.product(t, "tea", 350)
	old := s.mustPlace(t, order(1, tea.ID, ""))
	fresh, settled := s.mustPlace(t, order(1, tea.ID, "")), s.mustPlace(t, order(1, tea.ID, ""))
	if _, err := s.Settle(t.Context(), []catalog.Answer{{PurchaseID: settled.ID, Status: catalog.Declined, Reason: catalog.Expired}}); err != nil {
		t.Fatal(err)
	}
	overdue := func(id uuid.UUID) {
		s.exec(t, `UPDATE catalog.purchases SET next_send_at = now() - interval '1 second' WHERE id = $1`, id)
	}
	overdue(settled.ID)
	// Billing declines what has expired: without that answer, it would be pending for good.
	s.exec(t, `UPDATE catalog.purchases SET expires_at = now() - interval '1 hour' WHERE id = $1`, old.ID)
	for claim := range 3 {
		overdue(old.ID)
		var asked []int
		due, err := s.Due(t.Context(), 10, func(claimed int) time.Duration {
			asked = append(asked, claimed)
			return time.Hour
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(due) != 1 || due[0].ID != old.ID || len(asked) != 1 || asked[0] != claim {
			t.Errorf("claim %d: %d due, backoff called with %v", claim, len(due), asked)
		}
		if n := s.number(t, `SELECT count(*) FROM catalog.purchases WHERE next_send_at > now() + interval '59 minutes'`); n != 1 {
			t.Errorf("%d were postponed by an hour, want 1", n)
		}
	}
	if due, err := s.Due(t.Context(), 10, func(int) time.Duration { return time.Hour }); err != nil || len(due) != 0 {
		t.Errorf("%d due again at once, %v", len(due), err)
	}
	if n := s.number(t, `SELECT count(*) FROM catalog.purchases WHERE id = $1 AND next_send_at - created_at = interval '3 seconds'`, fresh.ID); n != 1 {
		t.Error("a new purchase is not due three seconds after its creation")
	}
	census, err := s.Pending(t.Context(), 1)
	if err != nil || census.Total != 2 || census.Users[1] != 2 || census.Oldest <= 0 {
		t.Errorf("census %+v, %v", census, err)
	}
	if census, err := s.Pending(t.Context(), 3); err != nil || census.Total != 2 || len(census.Users) != 0 {
		t.Errorf("census %+v, %v", census, err)
	}
}

// A group's statements find rows by key even if the tables were small when the
// statements were planned, because tables grow.
func TestGroupsNeverReadAWholeTable(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea := s.product(t, "tea", 350)
	s.mustPlace(t, order(1, tea.ID, "k"))
	s.exec(t, `ANALYZE catalog.products, catalog.purchases`)
	read := func() (indexes, tables int) {
		t.Helper()
		if err := s.owner.QueryRow(t.Context(), `SELECT sum(idx_scan), sum(seq_scan) FROM pg_stat_user_tables WHERE relname IN ('purchases', 'products')`).Scan(&indexes, &tables); err != nil {
			t.Fatal(err)
		}
		return indexes, tables
	}
	// Postgres updates a session's counters once a second.
	const enough = 10 * 3 // by product, key and id; more runs than Postgres takes to settle on a plan
	begin, before := read()
	waittest.Eventually(t, "indexes were read often enough", func() bool {
		placed := place(t, s.Store, order(1, tea.ID, "k"), order(2, tea.ID, ""))
		if _, err := s.Settle(t.Context(), []catalog.Answer{{PurchaseID: placed[1].Purchase.ID, Status: catalog.Completed, TransactionID: new(int64(1))}}); err != nil {
			t.Fatal(err)
		}
		indexes, tables := read()
		if tables != before {
			t.Fatalf("%d sequential scans of whole tables, want none", tables-before)
		}
		return indexes-begin >= enough
	})
}
