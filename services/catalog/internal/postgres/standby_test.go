package postgres_test

import (
	"context"
	"testing"
	"time"

	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/postgres"
)

// If a session is ended while its COMMIT waits for the synchronous standby, the
// transaction is committed on the primary only. Responses and messages that are
// based on its rows must wait for the standby too.
func TestNothingIsSentBeforeTheStandbyHasIt(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tea := s.product(t, "tea", 350)
	known := order(1, tea.ID, "key")
	s.mustPlace(t, known)
	s.exec(t, `UPDATE catalog.purchases SET next_send_at = now()`)
	// From here on, commits wait for the standby that TestMain names, which does not exist.
	admin := s.admin(t)
	if _, err := admin.Exec(t.Context(), "ALTER DATABASE "+s.db.Name+" SET synchronous_commit = on"); err != nil {
		t.Fatal(err)
	}
	// release cancels all waiting commits, as an operator would, and returns their number.
	release := func(t *testing.T) (n int) {
		err := admin.QueryRow(t.Context(), `
			SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event = 'SyncRep'`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}

	for name, act := range map[string]func(*postgres.Store){
		"a new order":                 func(store *postgres.Store) { place(t, store, order(1, tea.ID, "")) },
		"a repeat":                    func(store *postgres.Store) { place(t, store, order(1, tea.ID, "key")) },
		"the sweeper's claim to send": func(store *postgres.Store) { _, _ = store.Due(context.Background(), 10, noBackOff) },
		"an order whose row exists":   func(store *postgres.Store) { again(store, known) },
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan struct{})
			store := openStore(t, s.db.URL("catalog"))
			go func() {
				defer close(done)
				act(store)
			}()
			for waited, ended := 0, false; !ended; {
				select {
				case <-done:
					ended = true
				case <-time.After(10 * time.Millisecond):
				}
				waited += release(t)
				if ended && waited == 0 {
					t.Error("it did not wait for the standby")
				}
			}
		})
	}
}

func noBackOff(int) time.Duration { return 0 }

// again places an order whose row exists, as happens after a COMMIT of unknown
// outcome.
func again(store *postgres.Store, o catalog.Order) {
	o.Key = ""
	backlog := catalog.NewBacklog(catalog.Limits{Pending: 1000, PendingPerUser: 1000})
	store.Place(context.Background(), catalog.NewOrders([]catalog.Order{o}, backlog, lenient()))
}
