package bus_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"lavka/libs/contract/wire"
)

func (d *desk) refund(of wire.PurchaseRequested, minor int64) wire.RefundRequested {
	return wire.RefundRequested{V: 2, RefundID: uuid.New(), OfPurchase: of.PurchaseID, Payer: of.UserID, Bill: of.BillID, Minor: minor}
}

func (d *desk) sendRefunds(group ...wire.RefundRequested) {
	d.t.Helper()
	data, err := wire.EncodeGroup(group)
	d.must(err)
	d.sendRaw(data)
}

// refunded waits for the next answer about a refund.
func (d *desk) refunded() wire.RefundAnswered {
	d.t.Helper()
	select {
	case a := <-d.refunds:
		return a
	case <-time.After(limit):
		d.t.Fatal("billing did not answer")
		return wire.RefundAnswered{}
	}
}

func TestRefundsAreAnswered(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	bought := d.request(1, 10, 400)
	d.send(bought)
	d.answer()
	part := d.refund(bought, 150)
	d.sendRefunds(part)
	first := d.refunded()
	if first.RefundID != part.RefundID || first.Outcome != wire.Refunded || first.TransactionID == nil {
		t.Fatalf("%+v", first)
	}
	// A message of several has an answer of several, and repeats get the first answer.
	other := d.refund(d.request(1, 10, 5), 5)
	d.sendRefunds(part, d.refund(bought, 251), other)
	for _, want := range []string{wire.Refunded, wire.RefundExceeds, wire.ChargeNotFound} {
		switch a := d.refunded(); {
		case want == wire.Refunded && (a.RefundID != part.RefundID || *a.TransactionID != *first.TransactionID):
			t.Errorf("the repeat: %+v, at first %+v", a, first)
		case want == wire.RefundExceeds && (a.Reason != want || *a.Refundable != 250):
			t.Errorf("%+v", a)
		case want == wire.ChargeNotFound && (a.Reason != want || a.RefundID != other.RefundID):
			t.Errorf("%+v", a)
		}
	}
	d.drained()
	if n := len(d.rejected()); n != 0 {
		t.Errorf("%d messages were rejected", n)
	}
}

// While refunds are not open, a request goes back to NATS, and is decided when they
// are. Purchases pass it by.
func TestARefundWaitsUntilRefundsAreOpen(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.closed.Store(true)
	bought := d.request(1, 10, 400)
	d.send(bought)
	d.answer()
	r := d.refund(bought, 100)
	d.sendRefunds(r)
	d.send(d.request(1, 10, 1))
	d.answer()
	if n := d.number(`SELECT count(*) FROM billing.refunds`); n != 0 {
		t.Errorf("%d refunds were decided", n)
	}
	d.closed.Store(false)
	if a := d.refunded(); a.RefundID != r.RefundID || a.Outcome != wire.Refunded {
		t.Errorf("%+v", a)
	}
	d.drained()
	if n := len(d.rejected()); n != 0 {
		t.Errorf("%d messages were rejected", n)
	}
}

// A request that can't be read or stored is recorded, and NATS does not redeliver it.
func TestAnUnreadableRefundIsRecorded(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	bought := d.request(1, 10, 400)
	d.send(bought)
	d.answer()
	huge, none := d.refund(bought, 7_000_000_000_000_001), d.refund(bought, 0)
	d.sendRefunds(huge)
	d.sendRefunds(none)
	d.drained()
	for _, m := range d.rejected() {
		if m.PurchaseID != nil || !strings.Contains(m.Reason, "refund request") {
			t.Errorf("%+v", m)
		}
	}
	if n := len(d.rejected()); n != 2 {
		t.Errorf("%d messages were recorded, want 2", n)
	}
	if n := d.number(`SELECT count(*) FROM billing.refunds`) + d.number(`SELECT count(*) FROM billing.charges`); n != 1 {
		t.Errorf("%d decisions, want that on the purchase alone", n)
	}
}

func (d *desk) number(sql string) (n int) {
	d.t.Helper()
	conn, err := pgx.Connect(d.t.Context(), d.db.AdminURL())
	d.must(err)
	d.must(conn.QueryRow(d.t.Context(), sql).Scan(&n))
	d.must(conn.Close(d.t.Context()))
	return n
}
