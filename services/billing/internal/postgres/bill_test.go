package postgres_test

import (
	"errors"
	"testing"

	"lavka/services/billing/internal/billing"
)

func TestOpenBill(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	first, err := s.OpenBill(t.Context(), 1)
	if err != nil || first.UserID != 1 || first.Balance != 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	// The provider uses the next id first.
	s.Settle(t.Context(), []billing.Item{payment(1, 2, first.ID+1, 5)})
	second, err := s.OpenBill(t.Context(), 1)
	if err != nil || second.ID != first.ID+2 {
		t.Errorf("%+v, %v: want id %d", second, err, first.ID+2)
	}
	s.exec(t, `INSERT INTO billing.bills (id, user_id) SELECT n, 1 FROM generate_series(1, $1::int) n`, billing.MaxBills-3)
	if _, err := s.OpenBill(t.Context(), 1); err != nil {
		t.Errorf("the last bill: %v", err)
	}
	if _, err := s.OpenBill(t.Context(), 1); !errors.Is(err, billing.ErrTooManyBills) {
		t.Errorf("one bill too many: %v", err)
	}
	if _, err := s.OpenBill(t.Context(), 2); err != nil {
		t.Errorf("another user: %v", err)
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
	if _, err := s.Customer(t.Context(), 404); !errors.Is(err, billing.ErrCustomerNotFound) {
		t.Errorf("a missing customer: %v", err)
	}
}
