package postgres_test

import (
	"testing"

	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/postgres"
)

func TestInUse(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	pool := openPool(t, s.db.URL("catalog"), pg.Open)
	for products, want := range []bool{false, true} {
		var got bool
		if err := pool.QueryRow(t.Context(), `SELECT `+postgres.InUse).Scan(&got); err != nil || got != want {
			t.Errorf("in use with %d products: %v, %v", products, got, err)
		}
		s.product(t, "tea", 350)
	}
}
