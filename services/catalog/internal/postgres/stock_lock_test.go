package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/domain/problem"
	"lavka/libs/testkit/waittest"
	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/postgres"
)

// holds locks the stock of a product in another session, until the test calls free.
func (s *shop) holds(t *testing.T, p catalog.Product) (free func()) {
	t.Helper()
	tx, err := s.admin(t).BeginTx(t.Context(), pgx.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT FROM catalog.stock WHERE product_id = $1 FOR NO KEY UPDATE`, p.ID); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// Stock that stays locked harms only the orders of its product, and declines that would
// give something back to it.
func TestLockedStockIsSkipped(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	samovar, kettle, tea := s.limited(t, 5), s.limited(t, 5), s.product(t, "tea", 350)
	a, b := s.mustPlace(t, order(1, samovar.ID, "")), s.mustPlace(t, order(1, kettle.ID, ""))
	free := s.holds(t, samovar)
	got := place(t, s.Store, order(2, samovar.ID, "k"), order(2, kettle.ID, ""), order(2, tea.ID, ""), order(3, samovar.ID, ""))
	wantCodes(t, got, "overloaded", "", "", "overloaded")
	if got := place(t, s.Store, order(4, samovar.ID, "")); codes(got)[0] != "overloaded" || problem.From(got[0].Err).RetryAfter == 0 {
		t.Errorf("alone: %+v", got)
	}
	settled := s.decline(t, catalog.InsufficientFunds, a.ID, b.ID)
	if settled.Waiting != 1 || len(settled.Written) != 1 || settled.Written[0].PurchaseID != b.ID || len(settled.Before) != 0 {
		t.Errorf("%+v", settled)
	}
	s.stockIs(t, kettle, 4)
	free()
	if settled := s.decline(t, catalog.InsufficientFunds, a.ID, b.ID); settled.Waiting != 0 || len(settled.Written) != 1 || len(settled.Before) != 1 {
		t.Errorf("afterwards: %+v", settled)
	}
	s.stockIs(t, samovar, 5)
	wantCodes(t, place(t, s.Store, order(2, samovar.ID, "k")), "")
	s.stockIs(t, samovar, 4)
}

// A COMMIT of unknown outcome takes stock once, or not at all.
func TestADoubtfulCommitTakesStockOnce(t *testing.T) {
	t.Parallel()
	for name, fates := range map[string][]fate{
		"not done":          {cutBefore},
		"done, answer lost": {cutAfter},
		"lost twice":        {cutBefore, cutAfter},
		"lost three times":  {cutAfter, cutBefore, cutAfter},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			cut, url := newProxy(t, s.db.URL("catalog"))
			replica := openStore(t, url)
			last, tea := s.limited(t, 3), s.product(t, "tea", 350)
			cut.next(false, fates...)
			got := place(t, replica, several(1, last.ID, "k", 2), order(2, last.ID, ""), order(3, last.ID, ""), several(1, last.ID, "k", 2), order(1, tea.ID, ""))
			wantCodes(t, got, "", "", "out_of_stock", "", "")
			s.stockIs(t, last, 0)
			if n := s.number(t, `SELECT count(*) FROM catalog.purchases`); n != 3 {
				t.Errorf("%d purchases, want 3", n)
			}
			// So does its decline.
			cut.next(false, fates...)
			ids := []uuid.UUID{got[0].Purchase.ID, got[1].Purchase.ID}
			if _, err := replica.Settle(t.Context(), []catalog.Answer{{PurchaseID: ids[0], Status: catalog.Declined, Reason: catalog.Expired}, {PurchaseID: ids[1], Status: catalog.Declined, Reason: catalog.Expired}}); err != nil && len(fates) < 3 {
				t.Error(err)
			}
			s.decline(t, catalog.Expired, ids...)
			s.stockIs(t, last, 3)
		})
	}
}

// While the COMMIT of an order may still be held, by a standby that is gone, the order is
// refused neither as overloaded nor as out of stock, although others can't have its stock:
// its outcome is unknown, or known if the COMMIT ends in time.
func TestADoubtfulOrderIsNotRefused(t *testing.T) {
	t.Parallel()
	for name, inTime := range map[string]bool{"the COMMIT ends in time": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			cut, url := newProxy(t, s.db.URL("catalog"))
			replica := openStore(t, url)
			last, tea := s.limited(t, 1), s.product(t, "tea", 350)
			admin := s.admin(t)
			commits := func(mode string) {
				if _, err := admin.Exec(t.Context(), "ALTER DATABASE "+s.db.Name+" SET synchronous_commit = "+mode); err != nil {
					t.Error(err)
				}
			}
			commits("on") // waits for the standby that TestMain names, which does not exist
			waiting := make(chan struct{})
			cut.cutWhileHeld(func() {
				defer close(waiting)
				waittest.Eventually(t, "the COMMIT waits", func() bool {
					var n int
					err := admin.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'`).Scan(&n)
					return err == nil && n == 1
				})
				commits("off") // in the sessions that are opened from now on
			})
			var got []catalog.Placement
			done := make(chan struct{})
			go func() {
				defer close(done)
				got = place(t, replica, order(1, last.ID, "k"), order(2, last.ID, ""))
			}()
			<-waiting
			others := place(t, s.Store, order(3, last.ID, ""), order(3, tea.ID, ""))
			wantCodes(t, others, "overloaded", "")
			release := func() {
				if _, err := admin.Exec(t.Context(), `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'`); err != nil {
					t.Error(err)
				}
			}
			if inTime {
				release()
				<-done
				// The other order is refused either way. If the COMMIT ends just after the attempt that
				// finds its order has given up the lock, the stock itself was not seen.
				if refused := codes(got)[1]; refused != "out_of_stock" && refused != "overloaded" {
					t.Errorf("the other order: %q", refused)
				}
				wantCodes(t, got[:1], "")
			} else {
				<-done
				if codes(got)[0] != "outcome_unknown" || problem.From(got[0].Err).Extra["purchase_id"] == nil {
					t.Errorf("%+v", got[0])
				}
				release()
			}
			waittest.Eventually(t, "the lock is free", func() bool {
				return codes(place(t, s.Store, order(5, last.ID, "")))[0] == "out_of_stock"
			})
			wantCodes(t, place(t, s.Store, order(1, last.ID, "k")), "")
			s.stockIs(t, last, 0)
		})
	}
}

// Groups with hot products in every order, with declines and changes of the stock
// beside them, in two replicas: nothing deadlocks, and every stock counts up.
func TestHotProductsDoNotDeadlock(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	replicas := []*postgres.Store{s.Store, openStore(t, s.db.URL("catalog"))}
	const products, workers, rounds, each = 6, 6, 15, 12
	var shelf []catalog.Product
	for range products {
		shelf = append(shelf, s.limited(t, 100_000))
	}
	deadlocks := s.number(t, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for r := range rounds {
				orders := make([]catalog.Order, each)
				for i := range orders {
					orders[i] = several(int64(1+w), shelf[rand.IntN(products)].ID, fmt.Sprintf("%d %d", r, i/2*(w%2)+i*(1-w%2)), 1+i%3)
				}
				var answers []catalog.Answer
				backlog := catalog.NewBacklog(catalog.Limits{Pending: 100_000, PendingPerUser: 100_000, StockPerUser: 100_000})
				group := catalog.NewOrders(orders, backlog, lenient())
				replicas[w%2].Place(t.Context(), group)
				for _, p := range group.Placements() {
					switch {
					case p.Err != nil:
						if code := problem.From(p.Err).Code; code != "overloaded" && code != "idempotency_key_reused" {
							t.Error(p.Err)
						}
					case rand.IntN(3) == 0:
						answers = append(answers, catalog.Answer{PurchaseID: p.Purchase.ID, Status: catalog.Completed, TransactionID: new(int64(1))})
					default:
						answers = append(answers, catalog.Answer{PurchaseID: p.Purchase.ID, Status: catalog.Declined, Reason: catalog.InsufficientFunds})
					}
				}
				rand.Shuffle(len(answers), func(i, j int) { answers[i], answers[j] = answers[j], answers[i] })
				seen := map[uuid.UUID]bool{}
				distinct := answers[:0]
				for _, a := range answers {
					if !seen[a.PurchaseID] {
						seen[a.PurchaseID] = true
						distinct = append(distinct, a)
					}
				}
				if _, err := replicas[(w+1)%2].Settle(t.Context(), distinct); err != nil {
					t.Error(err)
				}
				s.change(t, shelf[rand.IntN(products)], fmt.Sprintf("%d %d", w, r), 1)
			}
		})
	}
	all.Wait()
	if err := s.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	if n := s.number(t, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`); n != deadlocks {
		t.Errorf("%d deadlocks", n-deadlocks)
	}
}
