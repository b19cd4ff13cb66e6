package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/contract/streams"
	"lavka/libs/contract/wire"
	"lavka/libs/domain/group"
	"lavka/libs/domain/money"
	"lavka/libs/service/natsconn"
	"lavka/libs/service/opened"
	"lavka/libs/service/pg"
	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
	"lavka/services/billing/internal/billing"
	"lavka/services/billing/internal/bus"
	"lavka/services/billing/internal/postgres"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{Setup: pgtest.Service(postgres.Schema, postgres.Migrations)})
}

// limit is how long a test waits for an answer.
const limit = 30 * time.Second

// desk is billing's bus on a real NATS server and a real ledger. The test stands in
// for auth and catalog.
type desk struct {
	t       *testing.T
	server  *natstest.Server
	nc      *nats.Conn
	js      jetstream.JetStream
	db      pgtest.Database
	store   *postgres.Store
	answers chan wire.PurchaseAnswered
	refunds chan wire.RefundAnswered
	closed  atomic.Bool // refunds are not open yet
	inbox   string

	messages atomic.Int64 // the number of answer messages
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, server: natstest.Start(t), db: pgtest.New(t), answers: make(chan wire.PurchaseAnswered, 1000), refunds: make(chan wire.RefundAnswered, 1000), inbox: wire.SubjectAnswered + ".test"}
	log := slog.New(slog.DiscardHandler)
	pool, err := pg.Open(t.Context(), d.db.URL("billing"), "billing", 8)
	d.must(err)
	t.Cleanup(pool.Close)
	pools := pg.OnePool(pool)
	t.Cleanup(pools.Close)
	d.store = postgres.New(pools, pool, log)
	d.nc, err = natsconn.Connect(d.server.URL, "test", log, func() {})
	d.must(err)
	t.Cleanup(d.nc.Close)
	d.js, err = jetstream.New(d.nc)
	d.must(err)
	_, err = d.js.CreateStream(t.Context(), streams.Users(1))
	d.must(err)
	_, err = d.nc.Subscribe(d.inbox, func(m *nats.Msg) {
		if refunds, err := wire.DecodeRefundAnswered(m.Data); err == nil {
			for _, a := range refunds {
				d.refunds <- a
			}
			return
		}
		group, err := wire.DecodePurchaseAnswered(m.Data)
		if err != nil || m.Header.Get(wire.HeaderReads) != wire.ReadsGroups {
			t.Errorf("billing answered %v %q: %v", m.Header, m.Data, err)
		}
		d.messages.Add(1)
		for _, a := range group {
			d.answers <- a
		}
	})
	d.must(err)

	settler := billing.NewSettler(d.store, group.Config{Max: 100, Queue: 4000, InFlight: 2})
	open := func() error {
		if d.closed.Load() {
			return opened.ErrNotYet
		}
		return nil
	}
	purchases, users := bus.NewPurchases(d.nc, d.js, settler, d.store, open, 1, log, prometheus.NewRegistry()), bus.NewUsers(d.js, d.store, log)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var workers sync.WaitGroup
	workers.Go(func() { purchases.Run(ctx) })
	workers.Go(func() { users.Run(ctx) })
	t.Cleanup(func() { stop(); workers.Wait(); settler.Close(); purchases.Close() })

	d.user(1, "active", 1)
	d.credit(1, 1, 10, 100_000)
	waittest.Eventually(t, "the consumer exists", func() bool {
		_, err := d.js.Consumer(t.Context(), wire.StreamPurchases, wire.ConsumerPurchases)
		return err == nil
	})
	return d
}

func (d *desk) user(id int64, status string, version int64) {
	d.t.Helper()
	data, err := wire.Encode(wire.UserChanged{V: 1, ID: id, Login: fmt.Sprint("user", id), Role: "user", Status: status, Version: version, TokenVersion: 1})
	d.must(err)
	_, err = d.js.Publish(d.t.Context(), fmt.Sprint(wire.SubjectChanged, ".", id), data)
	d.must(err)
	waittest.Eventually(d.t, "the user is stored", func() bool {
		c, err := d.store.Customer(d.t.Context(), id)
		if errors.Is(err, billing.ErrCustomerNotFound) {
			return false
		}
		d.must(err)
		return c.Version >= version
	})
}

func (d *desk) credit(payment, user, bill int64, amount money.Amount) {
	d.t.Helper()
	r := d.store.Settle(d.t.Context(), []billing.Item{&billing.Payment{ID: payment, UserID: user, BillID: bill, Amount: amount}})
	if _, credited := r[0].(billing.Credited); !credited {
		d.t.Fatalf("%T %+v", r[0], r[0])
	}
}

func (d *desk) request(user, bill, amount int64) wire.PurchaseRequested {
	return wire.PurchaseRequested{V: 1, PurchaseID: uuid.New(), UserID: user, BillID: bill, Amount: amount, ExpiresAt: time.Now().Add(time.Hour)}
}

// send requests purchases in one message.
func (d *desk) send(group ...wire.PurchaseRequested) {
	d.t.Helper()
	data, err := wire.EncodeGroup(group)
	d.must(err)
	d.sendRaw(data)
}

func (d *desk) sendRaw(data []byte) {
	d.t.Helper()
	_, err := d.js.PublishMsg(d.t.Context(), &nats.Msg{Subject: wire.SubjectRequested, Data: data, Header: nats.Header{wire.HeaderReply: {d.inbox}}})
	d.must(err)
}

// answer waits for the next answer from billing.
func (d *desk) answer() wire.PurchaseAnswered {
	d.t.Helper()
	select {
	case a := <-d.answers:
		return a
	case <-time.After(limit):
		d.t.Fatal("billing did not answer")
		return wire.PurchaseAnswered{}
	}
}

// drained waits until the stream is empty: every message is acknowledged.
func (d *desk) drained() {
	d.t.Helper()
	waittest.Eventually(d.t, "the stream is empty", func() bool {
		s, err := d.js.Stream(d.t.Context(), wire.StreamPurchases)
		return err == nil && s.CachedInfo().State.Msgs == 0
	})
}

func (d *desk) rejected() (all []postgres.RejectedMessage) {
	d.t.Helper()
	d.must(d.store.RejectedMessages(d.t.Context(), func(m postgres.RejectedMessage) error { all = append(all, m); return nil }))
	return all
}

func (d *desk) exec(sql string, args ...any) {
	d.t.Helper()
	conn, err := pgx.Connect(d.t.Context(), d.db.AdminURL())
	d.must(err)
	_, err = conn.Exec(d.t.Context(), sql, args...)
	d.must(err)
	d.must(conn.Close(d.t.Context()))
}

func (d *desk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func TestARepeatedRequestGetsTheSameAnswer(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	m := d.request(1, 10, 400)
	d.send(m)
	first := d.answer()
	if first.PurchaseID != m.PurchaseID || first.Outcome != wire.Settled || *first.Balance != 99_600 {
		t.Fatalf("%+v", first)
	}
	for range 5 { // even within a duplicate window, the message must be delivered
		d.send(m)
		if again := d.answer(); *again.TransactionID != *first.TransactionID || *again.Balance != *first.Balance {
			t.Errorf("the repeat: %+v, at first %+v", again, first)
		}
	}
	d.drained()
	_, err := d.store.Verify(t.Context())
	d.must(err)
}

func TestEveryDecline(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	late := d.request(1, 10, 1)
	late.ExpiresAt = time.Now().Add(-time.Minute)
	d.user(2, "active", 1)
	d.credit(2, 2, 20, 100)
	d.user(2, "disabled", 2)
	for _, c := range []struct {
		m    wire.PurchaseRequested
		want string
	}{
		{d.request(1, 10, 100_001), wire.InsufficientFunds},
		{d.request(1, 404, 1), wire.BillNotFound},
		{d.request(1, 20, 1), wire.BillNotFound},
		{d.request(2, 20, 1), wire.BuyerDisabled},
		{late, wire.Expired},
	} {
		d.send(c.m)
		if a := d.answer(); a.PurchaseID != c.m.PurchaseID || a.Outcome != wire.Declined || a.Reason != c.want {
			t.Errorf("%+v, want %s", a, c.want)
		}
	}
	d.drained()
}

func TestAnOlderVersionOfAUserIsIgnored(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.user(3, "disabled", 5)
	d.user(3, "active", 4) // returns at once, because the stored version is 5
	d.user(4, "active", 1) // once this user is stored, the message before has been handled
	c, err := d.store.Customer(t.Context(), 3)
	d.must(err)
	if c.Status != "disabled" || c.Version != 5 {
		t.Errorf("%+v", c)
	}
}

func TestAMessageThatCannotBeUnderstoodIsKeptAndNeverTriedAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := uuid.New()
	bad := []byte(fmt.Sprintf(`{"v":1,"purchase_id":%q,"amount":"many"}`, id))
	d.sendRaw([]byte(`not JSON`))
	d.sendRaw([]byte(`not JSON`))
	d.sendRaw(bad)
	// They are recorded concurrently, in any order.
	waittest.Eventually(t, "both are recorded", func() bool { r := d.rejected(); return len(r) == 2 && r[0].Times+r[1].Times == 3 })
	d.drained()
	for _, r := range d.rejected() {
		if nameless := r.PurchaseID == nil; nameless != (r.Times == 2) || !nameless && *r.PurchaseID != id {
			t.Errorf("recorded %+v", r)
		}
	}
	// After 15 minutes it expires, so that the buyer gets an answer.
	d.exec(`UPDATE billing.rejected_messages SET first_at = now() - interval '16 minutes'`)
	d.sendRaw(bad)
	if a := d.answer(); a.PurchaseID != id || a.Reason != wire.Expired {
		t.Errorf("%+v", a)
	}
	// If another release could read the request and decided on it, that answer stands.
	good := d.request(1, 10, 5)
	d.send(good)
	settled := d.answer()
	d.sendRaw([]byte(fmt.Sprintf(`{"v":9,"purchase_id":%q}`, good.PurchaseID)))
	if a := d.answer(); *a.TransactionID != *settled.TransactionID {
		t.Errorf("%+v, at first %+v", a, settled)
	}
	d.drained()
}

func TestOneBadRequestAmongAHundred(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, wire.MaxGroup} {
		t.Run(fmt.Sprint("in messages of ", size), func(t *testing.T) { poisoned(t, size) })
	}
}

func poisoned(t *testing.T, size int) {
	t.Parallel()
	d := newDesk(t)
	d.exec(`ALTER TABLE billing.transactions ADD CONSTRAINT poison CHECK (abs(amount) <> 666)`)
	poison := d.request(1, 10, 666)
	want := map[uuid.UUID]wire.PurchaseRequested{}
	var all []wire.PurchaseRequested
	for i := range 100 {
		m := d.request(1, 10, 5)
		if i == 50 {
			m = poison
		} else {
			want[m.PurchaseID] = m
		}
		all = append(all, m)
	}
	for group := range slices.Chunk(all, size) {
		d.send(group...)
	}
	for left := maps.Clone(want); len(left) > 0; {
		d.drained()
		for len(d.answers) > 0 {
			a := d.answer()
			if _, ours := want[a.PurchaseID]; a.Outcome != wire.Settled || !ours {
				t.Fatalf("%+v", a)
			}
			delete(left, a.PurchaseID)
		}
		for _, m := range left { // as catalog does: the other group had locked the bill when each request was settled alone
			d.send(m)
		}
	}
	waittest.Eventually(t, "the request is recorded", func() bool { return len(d.rejected()) == 1 })
	if r := d.rejected()[0]; *r.PurchaseID != poison.PurchaseID {
		t.Errorf("recorded %+v", r)
	}
	d.drained()
	_, err := d.store.Verify(t.Context())
	d.must(err)
}

func TestNATSLosesAllItsData(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	before := d.request(1, 10, 5)
	d.send(before)
	first := d.answer()
	d.server.Stop()
	d.server.Wipe()
	d.server.Start()
	waittest.Eventually(t, "billing has created the stream again", func() bool {
		_, err := d.js.PublishMsg(t.Context(), &nats.Msg{Subject: wire.SubjectRequested, Data: mustEncode(t, before), Header: nats.Header{wire.HeaderReply: {d.inbox}}})
		return err == nil
	})
	if again := d.answer(); *again.TransactionID != *first.TransactionID {
		t.Errorf("%+v, at first %+v", again, first)
	}
	after := d.request(1, 10, 5)
	d.send(after)
	if a := d.answer(); a.PurchaseID != after.PurchaseID || a.Outcome != wire.Settled {
		t.Errorf("%+v", a)
	}
}

func TestTheConsumerIsDeleted(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.must(d.js.DeleteConsumer(t.Context(), wire.StreamPurchases, wire.ConsumerPurchases))
	m := d.request(1, 10, 5)
	d.send(m)
	if a := d.answer(); a.PurchaseID != m.PurchaseID {
		t.Errorf("%+v", a)
	}
	d.must(d.js.DeleteStream(t.Context(), wire.StreamPurchases))
	m = d.request(1, 10, 5)
	waittest.Eventually(t, "the stream exists again", func() bool {
		_, err := d.js.PublishMsg(t.Context(), &nats.Msg{Subject: wire.SubjectRequested, Data: mustEncode(t, m), Header: nats.Header{wire.HeaderReply: {d.inbox}}})
		return err == nil
	})
	if a := d.answer(); a.PurchaseID != m.PurchaseID {
		t.Errorf("%+v", a)
	}
}

func mustEncode(t *testing.T, m any) []byte {
	t.Helper()
	data, err := wire.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
