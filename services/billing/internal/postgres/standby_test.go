package postgres_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
	"lavka/services/billing/internal/billing"
)

// If a session is terminated while its COMMIT waits for the synchronous standby,
// the transaction is committed on the primary alone. A repeat must not be answered
// from the primary's data until the standby has the transaction too.
func TestNothingIsAnsweredBeforeTheStandbyHasIt(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	paid := payment(1, 1, 7, 1000)
	bought, poor, lost := purchase(1, 7, 100), purchase(1, 7, 5000), purchase(1, 99, 100)
	unreadable := &billing.ChargeRequest{PurchaseID: uuid.New(), ExpiresAt: time.Now().Add(-time.Hour), Unreadable: true}
	reversal := func(id int64, of *billing.Payment, total money.Amount) *billing.Reversal {
		return &billing.Reversal{ID: id, PaymentID: 1, Total: total, Payment: of}
	}
	s.Settle(t.Context(), []billing.Item{paid, bought, poor, lost, unreadable})
	s.Settle(t.Context(), []billing.Item{reversal(1, paid, 10)})
	// From here on, commits wait for the standby that TestMain names and that does not
	// exist.
	s.exec(t, "ALTER DATABASE "+s.db.Name+" SET synchronous_commit = on")
	// release ends all waits, as an operator's cancel does, and returns their number.
	release := func(t *testing.T) (n int) {
		err := s.admin.QueryRow(t.Context(), `
			SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event = 'SyncRep'`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}

	for name, item := range map[string]billing.Item{
		"a new payment":                   payment(2, 1, 7, 1000),
		"a repeated payment":              paid,
		"a repeated charge":               bought,
		"a repeated decline":              poor,
		"a repeated decline with no bill": lost,
		"a repeated unreadable request":   unreadable,
		"a new reversal":                  reversal(2, paid, 20),
		"a repeated reversal":             reversal(1, paid, 10),
		"a reversal that is not due":      reversal(3, paid, 5),
		"a conflict with a reversal":      reversal(1, nil, 11),
	} {
		t.Run(name, func(t *testing.T) {
			store, _ := s.open(t, s.db.URL("billing"))
			done := make(chan struct{})
			go func() {
				defer close(done)
				store.Settle(t.Context(), []billing.Item{item})
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
