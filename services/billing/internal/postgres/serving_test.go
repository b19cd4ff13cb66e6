package postgres_test

import (
	"testing"

	"lavka/services/billing/internal/postgres"
)

func TestInUse(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for bills, want := range []bool{false, true} {
		var got bool
		if err := s.pool.QueryRow(t.Context(), `SELECT `+postgres.InUse).Scan(&got); err != nil || got != want {
			t.Errorf("in use with %d bills: %v, %v", bills, got, err)
		}
		if _, _, err := s.OpenBill(t.Context(), 1, ""); err != nil {
			t.Fatal(err)
		}
	}
}
