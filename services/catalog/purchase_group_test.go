package main

import (
	"sync"
	"testing"

	"lavka/libs/contract/wire"
	"lavka/libs/testkit/waittest"
)

// Purchases placed together are requested in one message once all of billing's
// answers announce that it reads groups. After an answer without that
// announcement, each purchase gets a message of its own again.
func TestPurchasesShareMessages(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b := newBilling(t, s, settled)
	r := s.start(t, nil)
	ann := s.token(t, 2, "user")
	tea := r.product(t, "tea", "3.50")
	// buy buys 64 times at once, and returns how many purchases shared a message.
	buy := func() (together int) {
		before := len(b.received())
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				a, err := r.trySend(t.Context(), ann, "POST", "/purchases", order(tea, 7))
				if err != nil || a.status != 201 {
					t.Errorf("%s, %v", a, err)
				}
			})
		}
		all.Wait()
		received := b.received()[before:]
		if len(received) != 64 {
			t.Errorf("billing got requests for %d purchases, want 64", len(received))
		}
		for _, m := range received {
			if m.several > 1 {
				together++
			}
			if m.several > wire.MaxGroup || (m.Traceparent != "") != (m.several > 1) || (m.header.Get("traceparent") != "") != (m.several == 1) {
				t.Errorf("one of %d: traceparent %q, and %v", m.several, m.Traceparent, m.header)
			}
		}
		return together
	}
	if n := buy(); n != 0 {
		t.Errorf("%d shared a message before billing announced groups", n)
	}
	b.understands(wire.ReadsGroups)
	if n := buy(); n != 0 {
		t.Errorf("%d shared a message while a replica of billing may be of an older release", n)
	}

	// A replica that has had no answer from an older release.
	r = s.start(t, nil)
	if a := r.send(t, ann, "POST", "/purchases", order(tea, 7)); a.status != 201 {
		t.Fatal(a)
	}
	waittest.Eventually(t, "some purchases share a message", func() bool { return buy() > 0 })
	b.understands("")
	if a := r.send(t, ann, "POST", "/purchases", order(tea, 7)); a.status != 201 {
		t.Fatal(a)
	}
	if n := buy(); n != 0 {
		t.Errorf("%d shared a message after an answer from an older release", n)
	}
}
