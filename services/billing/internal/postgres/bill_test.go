package postgres_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"lavka/libs/testkit/waittest"
	"lavka/services/billing/internal/billing"
	"lavka/services/billing/internal/postgres"
)

func TestOpenBill(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	first, _, err := s.OpenBill(t.Context(), 1, "")
	if err != nil || first.UserID != 1 || first.Balance != 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	// The provider uses the next id first.
	s.Settle(t.Context(), []billing.Item{payment(1, 2, first.ID+1, 5)})
	second, _, err := s.OpenBill(t.Context(), 1, "")
	if err != nil || second.ID != first.ID+2 {
		t.Errorf("%+v, %v: want id %d", second, err, first.ID+2)
	}
	s.exec(t, `INSERT INTO billing.bills (id, user_id) SELECT n, 1 FROM generate_series(1, $1::int) n`, billing.MaxBills-3)
	if _, _, err := s.OpenBill(t.Context(), 1, ""); err != nil {
		t.Errorf("the last bill: %v", err)
	}
	if _, _, err := s.OpenBill(t.Context(), 1, ""); !errors.Is(err, billing.ErrTooManyBills) {
		t.Errorf("one bill too many: %v", err)
	}
	if _, _, err := s.OpenBill(t.Context(), 2, ""); err != nil {
		t.Errorf("another user: %v", err)
	}
}

// Concurrent requests of a user, to two replicas, open no more bills than sequential
// ones.
func TestManyOpenTheLastBillAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	patient := s.db.URL("billing") + "&lock_timeout=0"
	first, _ := s.open(t, patient)
	second, _ := s.open(t, patient)
	const left, atOnce = 3, 2 // one of each replica
	s.exec(t, `INSERT INTO billing.bills (id, user_id) SELECT n, 1 FROM generate_series(1, $1::int) n`, billing.MaxBills-left)
	// No bill can be inserted until all requests have come as far as they can.
	blocker, err := pgx.Connect(t.Context(), s.db.AdminURL())
	if err != nil {
		t.Fatal(err)
	}
	defer blocker.Close(context.WithoutCancel(t.Context()))
	if _, err := blocker.Exec(t.Context(), `BEGIN; LOCK TABLE billing.bills IN SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	results := make(chan error, 32)
	for i := range cap(results) {
		go func() {
			_, _, err := []*postgres.Store{first, second}[i%2].OpenBill(t.Context(), 1, "")
			results <- err
		}()
	}
	waittest.Eventually(t, "one request of each replica waits for a lock", func() bool {
		return s.count(t, "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == atOnce
	})
	if _, err := blocker.Exec(t.Context(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	opened := 0
	for range cap(results) {
		switch err := <-results; {
		case err == nil:
			opened++
		case !errors.Is(err, billing.ErrTooManyBills):
			t.Error(err)
		}
	}
	if n := s.count(t, "billing.bills WHERE user_id = 1"); opened != left || n != billing.MaxBills {
		t.Errorf("%d bills were opened, there are %d", opened, n)
	}
}

func TestWhatDoesNotExistIsNotFound(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.Settle(t.Context(), []billing.Item{payment(1, 1, 10, 5)})
	if b, err := s.Bill(t.Context(), 1, 10); err != nil || b.ID != 10 || b.Balance != 5 {
		t.Errorf("%+v, %v", b, err)
	}
	if _, err := s.Bill(t.Context(), 1, 11); !errors.Is(err, billing.ErrBillNotFound) {
		t.Errorf("a missing bill: %v", err)
	}
	if _, err := s.Bill(t.Context(), 2, 10); !errors.Is(err, billing.ErrBillNotFound) {
		t.Errorf("another user's bill: %v", err)
	}
	if known, err := s.KnownUsers(t.Context(), []int64{404, 9, 1}); err != nil || len(known) != 2 || slices.Contains(known, 404) {
		t.Errorf("known users %v, %v", known, err)
	}
	if _, err := s.Customer(t.Context(), 404); !errors.Is(err, billing.ErrCustomerNotFound) {
		t.Errorf("a missing customer: %v", err)
	}
}
