package bus_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/contract/wire"
	"lavka/libs/testkit/waittest"
)

func TestAGroupIsAnsweredInOneMessage(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	late, poor := d.request(1, 10, 1), d.request(1, 10, 100_001)
	late.ExpiresAt = time.Now().Add(-time.Minute)
	good := d.request(1, 10, 400)
	want := map[uuid.UUID]string{late.PurchaseID: wire.Expired, poor.PurchaseID: wire.InsufficientFunds, good.PurchaseID: ""}
	transaction := int64(0)
	for times := range int64(3) {
		d.send(late, good, poor)
		for range want {
			a := d.answer()
			if reason, asked := want[a.PurchaseID]; !asked || a.Reason != reason {
				t.Errorf("%+v", a)
			}
			if a.TransactionID != nil && times == 0 {
				transaction = *a.TransactionID
			} else if a.TransactionID != nil && *a.TransactionID != transaction {
				t.Errorf("the repeat: %+v, at first transaction %d", a, transaction)
			}
		}
		if n := d.messages.Load(); n != times+1 {
			t.Errorf("sent %d times, answered in %d messages", times+1, n)
		}
	}
	d.drained()
	_, err := d.store.Verify(t.Context())
	d.must(err)
}

// The other requests of the group are answered at once. Catalog retries the held one
// alone, and that message is redelivered until the bill is unlocked.
func TestAGroupWithAHeldBill(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.credit(2, 1, 11, 1000)
	conn, err := pgx.Connect(t.Context(), d.db.AdminURL())
	d.must(err)
	tx, err := conn.Begin(t.Context())
	d.must(err)
	_, err = tx.Exec(t.Context(), `SELECT FROM billing.bills WHERE id = 11 FOR UPDATE`)
	d.must(err)
	free, held := d.request(1, 10, 5), d.request(1, 11, 5)
	d.send(free, held)
	if a := d.answer(); a.PurchaseID != free.PurchaseID || a.Outcome != wire.Settled {
		t.Errorf("%+v", a)
	}
	d.drained()
	d.send(held)
	waittest.Eventually(t, "the message is redelivered", func() bool {
		c, err := d.js.Consumer(t.Context(), wire.StreamPurchases, wire.ConsumerPurchases)
		return err == nil && c.CachedInfo().NumRedelivered > 0
	})
	d.must(conn.Close(t.Context()))
	if a := d.answer(); a.PurchaseID != held.PurchaseID || a.Outcome != wire.Settled {
		t.Errorf("%+v", a)
	}
	d.drained()
	if n := d.messages.Load(); n != 2 {
		t.Errorf("answered in %d messages", n)
	}
	_, err = d.store.Verify(t.Context())
	d.must(err)
}

func TestAnUnparsableGroupIsRecorded(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	good, bad := d.request(1, 10, 5), d.request(1, 10, 0)
	d.send(good, bad)
	waittest.Eventually(t, "the group is recorded", func() bool { return len(d.rejected()) == 1 })
	if r := d.rejected()[0]; r.PurchaseID != nil {
		t.Errorf("recorded %+v", r)
	}
	d.drained()
	d.send(good) // alone, as catalog's sweeper does
	if a := d.answer(); a.PurchaseID != good.PurchaseID || a.Outcome != wire.Settled {
		t.Errorf("%+v", a)
	}
}
