package main

import (
	"strings"
	"sync"
	"testing"
	"time"

	"lavka/libs/contract/wire"
	"lavka/libs/testkit/waittest"
)

func TestALateAnswer(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b := newBilling(t, s, silent)
	r := s.start(t, func(cfg *Config) { cfg.PurchaseWait = 50 * time.Millisecond })
	ann := s.token(t, 2, "user")
	tea := r.product(t, "tea", "3.50")
	a := r.send(t, ann, "POST", "/purchases", order(tea, 7), "Idempotency-Key", "k")
	if a.status != 202 || a.body["status"] != "pending" || a.header.Get("Location") == "" || a.header.Get("Retry-After") == "" || a.body["settled_at"] != nil {
		t.Fatalf("%s %v", a, a.header)
	}
	// A repeat asks billing again, and waits like the first request.
	again := r.send(t, ann, "POST", "/purchases", order(tea, 7), "Idempotency-Key", "k")
	if again.status != 202 || again.body["id"] != a.body["id"] || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the repeat: %s %v", again, again.header)
	}
	waittest.Eventually(t, "billing is asked twice", func() bool { return len(b.received()) >= 2 })
	m := b.received()[0]
	reply := m.header.Get(wire.HeaderReply)
	for _, nonsense := range []string{"", "{", `{"v":1}`, `{"v":9,"purchase_id":"` + m.PurchaseID.String() + `","outcome":"settled","transaction_id":1}`} {
		if err := b.nc.Publish(reply, []byte(nonsense)); err != nil {
			t.Fatal(err)
		}
	}
	unknown := m.PurchaseID
	unknown[15]++
	b.answer(t, reply, about(unknown, settled(m.PurchaseRequested)))
	b.answer(t, reply, about(m.PurchaseID, settled(m.PurchaseRequested)))
	waittest.Eventually(t, "the purchase is completed", func() bool {
		return r.send(t, ann, "GET", a.header.Get("Location"), "").body["status"] == "completed"
	})
	// The second answer changes nothing.
	b.answer(t, reply, about(m.PurchaseID, declined(wire.Expired, nil)(m.PurchaseRequested)))
	b.decides(declined(wire.Expired, nil))
	last := r.send(t, ann, "POST", "/purchases", order(tea, 7), "Idempotency-Key", "k")
	if last.status != 201 || last.body["transaction_id"] != 42.0 {
		t.Errorf("after the second answer: %s", last)
	}
}

func TestOneKeyFiftyTimesAtOnceOnTwoReplicas(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	newBilling(t, s, settled)
	replicas := []*replica{s.start(t, nil), s.start(t, nil)}
	ann := s.token(t, 2, "user")
	tea := replicas[0].product(t, "tea", "3.50")
	answers := make([]answer, 50)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			var err error
			if answers[i], err = replicas[i%2].trySend(t.Context(), ann, "POST", "/purchases", order(tea, 7), "Idempotency-Key", "k"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	first := 0
	for _, a := range answers {
		if a.status != 201 || a.text != answers[0].text {
			t.Errorf("%s, and %s", a, answers[0])
		}
		if a.header.Get("Idempotent-Replayed") == "" {
			first++
		}
	}
	if n := s.number(t, `SELECT count(*) FROM catalog.purchases`); n != 1 || first != 1 {
		t.Errorf("%d purchases, %d responses not marked as repeats, want one of each", n, first)
	}
}

func TestTheSweeperSendsRequestsThatWereNeverSent(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	r := s.start(t, func(cfg *Config) { cfg.PurchaseWait = 200 * time.Millisecond })
	ann := s.token(t, 2, "user")
	tea := r.product(t, "tea", "3.50")
	// The stream does not exist yet.
	if a := r.send(t, ann, "POST", "/purchases", order(tea, 7)); a.status != 202 {
		t.Fatal(a)
	}
	// NATS is not running at all.
	s.nats.Stop()
	waittest.Eventually(t, "the loss of NATS is noticed", func() bool { return strings.Contains(r.metrics(t), "\nnats_connected 0") })
	if a := r.send(t, ann, "POST", "/purchases", order(tea, 7)); a.status != 202 {
		t.Fatal(a)
	}
	s.nats.Start()
	b := newBilling(t, s, settled)
	waittest.Eventually(t, "both are completed", func() bool {
		return s.number(t, `SELECT count(*) FROM catalog.purchases WHERE status = 'completed'`) == 2
	})
	if !strings.Contains(r.metrics(t), "\ncatalog_purchases_resent_total ") {
		t.Error("the metric catalog_purchases_resent_total is missing")
	}
	if s.number(t, `SELECT min(claimed) FROM catalog.purchases`) < 1 || len(b.received()) < 2 {
		t.Errorf("not all were claimed by the sweeper; billing got %d requests", len(b.received()))
	}
}

func TestTooManyPending(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b := newBilling(t, s, silent)
	r := s.start(t, func(cfg *Config) {
		cfg.PurchaseWait, cfg.PendingMax, cfg.PendingMaxPerUser = 20*time.Millisecond, 3, 2
	})
	ann, bob := s.token(t, 2, "user"), s.token(t, 3, "user")
	tea := r.product(t, "tea", "3.50")
	// An order is not placed after three seconds in the queue, which happens on a busy machine. The response says to retry with the same key.
	buy := func(who, key string) (a answer) {
		waittest.Eventually(t, "the outcome is known", func() bool {
			a = r.send(t, who, "POST", "/purchases", order(tea, 7), "Idempotency-Key", key)
			return a.code() != "outcome_unknown"
		})
		return a
	}
	for _, c := range []struct {
		who, key string
		status   int
		repeat   bool
	}{
		{ann, "1", 202, false}, {ann, "2", 202, false}, {ann, "3", 503, false}, {ann, "1", 202, true},
		{bob, "1", 202, false}, {bob, "2", 503, false}, {bob, "1", 202, true},
	} {
		a := buy(c.who, c.key)
		if c.status == 202 && !c.repeat && a.code() == "overloaded" {
			// A purchase placed while the count was taken counts twice until the next
			// count a second later. The count is never too low, and repeats are never
			// refused.
			waittest.Eventually(t, "there is room", func() bool { a = buy(c.who, c.key); return a.code() != "overloaded" })
		}
		if a.status != c.status || (a.status == 503 && (a.code() != "overloaded" || a.header.Get("Retry-After") == "")) {
			t.Errorf("key %s: %s, want %d", c.key, a, c.status)
		}
	}
	// Settling makes room.
	b.decides(settled)
	for _, m := range b.received() {
		b.answer(t, m.header.Get(wire.HeaderReply), about(m.PurchaseID, settled(m.PurchaseRequested)))
	}
	waittest.Eventually(t, "there is room again", func() bool { return buy(ann, "3").status != 503 })
	if n := s.number(t, `SELECT count(*) FROM catalog.purchases`); n != 4 {
		t.Errorf("%d purchases, want 4", n)
	}
}
