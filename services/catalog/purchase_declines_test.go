package main

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"lavka/libs/contract/wire"
)

// A user without money leaves few rows, however many orders they send. Others buy,
// and so does this user, from a bill with money, as long as they may be declined.
func TestTooManyDeclines(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	const rich = 7
	newBilling(t, s, func(r wire.PurchaseRequested) *wire.PurchaseAnswered {
		if r.BillID == rich {
			return settled(r)
		}
		return declined(wire.BillNotFound, nil)(r)
	})
	const may = 10
	r := s.start(t, func(cfg *Config) { cfg.DeclinesMaxPerUser = may })
	tea, ann, bob := r.product(t, "tea", "3.50"), s.token(t, 2, "user"), s.token(t, 3, "user")

	const inProgress = 200 // purchases that succeed are never refused
	var all sync.WaitGroup
	for range inProgress {
		all.Go(func() {
			if a, err := r.trySend(t.Context(), ann, "POST", "/purchases", order(tea, rich)); err != nil || a.status != 201 {
				t.Errorf("with money: %s, %v", a, err)
			}
		})
	}
	all.Wait()

	rows := func() int {
		return s.number(t, `SELECT count(*) FROM catalog.purchases WHERE user_id = 2 AND bill_id <> $1`, rich)
	}
	for i := range may {
		if a := r.send(t, ann, "POST", "/purchases", order(tea, 404), "Idempotency-Key", strconv.Itoa(i)); a.status != 404 || a.code() != "bill_not_found" {
			t.Fatalf("decline %d: %s", i, a)
		}
	}
	refused := 0
	for i := range 200 {
		var headers []string
		if i%2 == 0 {
			headers = []string{"Idempotency-Key", fmt.Sprint("new ", i)}
		}
		switch a := r.send(t, ann, "POST", "/purchases", order(tea, 404), headers...); {
		case a.status == 429 && a.code() == "too_many_declines" && a.header.Get("Retry-After") != "" && a.body["purchase_id"] == nil:
			refused++
		case a.status != 404:
			t.Fatalf("%s", a)
		}
	}
	if made := rows(); refused == 0 || made != may+200-refused {
		t.Errorf("%d orders were refused, and there are %d rows", refused, made)
	}
	if a := r.send(t, ann, "POST", "/purchases", order(tea, 404), "Idempotency-Key", "0"); a.status != 404 || a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("a repeat: %s", a)
	}
	if a := r.send(t, bob, "POST", "/purchases", order(tea, rich)); a.status != 201 {
		t.Errorf("another user: %s", a)
	}
}
