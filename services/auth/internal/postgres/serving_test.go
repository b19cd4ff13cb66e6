package postgres_test

import (
	"fmt"
	"testing"

	"lavka/services/auth/internal/postgres"
)

// The first admin alone is not data: this replica may have just created them.
func TestInUse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for users, want := range []bool{false, false, true} {
		var got bool
		if err := f.pool.QueryRow(t.Context(), `SELECT `+postgres.InUse).Scan(&got); err != nil || got != want {
			t.Errorf("in use with %d users: %v, %v", users, got, err)
		}
		f.user(t, fmt.Sprint("user-", users))
	}
}
