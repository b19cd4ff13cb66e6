package postgres_test

import (
	"sync"
	"testing"

	"lavka/services/billing/internal/billing"
)

// A key opens one bill of each user, whatever becomes of the bill, and also for a user who may have no more.
func TestAKeyOpensOneBill(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	first, repeat, err := s.OpenBill(t.Context(), 1, "rent")
	if err != nil || repeat {
		t.Fatalf("%+v, repeat %v, %v", first, repeat, err)
	}
	s.Settle(t.Context(), []billing.Item{payment(1, 1, first.ID, 5)})
	s.exec(t, `INSERT INTO billing.bills (id, user_id) SELECT n, 1 FROM generate_series(1, $1::int) n`, billing.MaxBills-1)
	if again, repeat, err := s.OpenBill(t.Context(), 1, "rent"); err != nil || !repeat || again != first {
		t.Errorf("repeated: %+v, repeat %v, %v; want %+v as it was opened", again, repeat, err, first)
	}
	other, repeat, err := s.OpenBill(t.Context(), 2, "rent")
	if err != nil || repeat || other.ID == first.ID {
		t.Errorf("another user's: %+v, repeat %v, %v", other, repeat, err)
	}
	if another, repeat, err := s.OpenBill(t.Context(), 2, "food"); err != nil || repeat || another.ID == other.ID {
		t.Errorf("another key: %+v, repeat %v, %v", another, repeat, err)
	}
}

func TestManyOpenABillWithOneKeyAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	patient := s.db.URL("billing") + "&lock_timeout=0"
	first, _ := s.open(t, patient)
	second, _ := s.open(t, patient)
	var all sync.WaitGroup
	var mu sync.Mutex
	ids := map[int64]int{}
	made := 0
	for i := range 8 {
		all.Go(func() {
			store := first
			if i%2 == 1 {
				store = second
			}
			bill, repeat, err := store.OpenBill(t.Context(), 1, "rent")
			if err != nil {
				t.Errorf("request %d: %v", i, err)
			}
			mu.Lock()
			defer mu.Unlock()
			ids[bill.ID]++
			if !repeat {
				made++
			}
		})
	}
	all.Wait()
	if len(ids) != 1 || made != 1 {
		t.Errorf("bills %v, %d of them opened", ids, made)
	}
}
