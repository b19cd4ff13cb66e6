package main

import (
	"net/url"
	"testing"
	"time"

	"lavka/libs/contract/wire"
)

// A request with Prefer: wait=N gets the purchase when it is settled, through whichever replica, and otherwise after N seconds.
func TestWaitingForAPurchase(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b := newBilling(t, s, silent)
	here := s.start(t, func(cfg *Config) { cfg.PurchaseWait = 50 * time.Millisecond })
	there := s.start(t, nil)
	ann, bob := s.token(t, 2, "user"), s.token(t, 3, "user")
	tea := here.product(t, "tea", "3.50")
	for name, r := range map[string]*replica{"the replica that gets billing's answer": here, "another one": there} {
		a := here.send(t, ann, "POST", "/purchases", order(tea, 7))
		location := a.header.Get("Location")
		if a.status != 202 {
			t.Fatal(a)
		}
		began := time.Now()
		if a := r.send(t, ann, "GET", location, "", "Prefer", "wait=1"); a.status != 200 || a.body["status"] != "pending" || a.header.Get("Preference-Applied") != "wait=1" || time.Since(began) < time.Second {
			t.Errorf("%s: without an answer: %s %v after %v", name, a, a.header, time.Since(began))
		}
		if a := r.send(t, bob, "GET", location, "", "Prefer", "wait=15"); a.code() != "purchase_not_found" {
			t.Errorf("%s: another user: %s", name, a)
		}
		waited := make(chan answer, 1)
		began = time.Now()
		go func() {
			a, err := r.trySend(t.Context(), ann, "GET", location, "", "Prefer", "respond-async, wait=60")
			if err != nil {
				t.Error(err)
			}
			waited <- a
		}()
		requests := b.received()
		last := requests[len(requests)-1]
		b.answer(t, last.header.Get(wire.HeaderReply), about(last.PurchaseID, settled(last.PurchaseRequested)))
		if a := <-waited; a.status != 200 || a.body["status"] != "completed" || a.header.Get("Preference-Applied") != "wait=15" || time.Since(began) > 12*time.Second {
			t.Errorf("%s: %s %v after %v", name, a, a.header, time.Since(began))
		}
		if a := r.send(t, ann, "GET", location, "", "Prefer", "wait=15"); a.body["status"] != "completed" || a.header.Get("Preference-Applied") != "wait=15" {
			t.Errorf("%s: it is settled: %s %v", name, a, a.header)
		}
		if a := r.send(t, ann, "GET", location, ""); a.body["status"] != "completed" || a.header.Get("Preference-Applied") != "" {
			t.Errorf("%s: without the preference: %s %v", name, a, a.header)
		}
	}
}

func TestThePurchaseOfAKey(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	newBilling(t, s, settled)
	r := s.start(t, nil)
	ann, bob := s.token(t, 2, "user"), s.token(t, 3, "user")
	tea := r.product(t, "tea", "3.50")
	const key = `key "one" & more`
	bought := r.send(t, ann, "POST", "/purchases", order(tea, 7), "Idempotency-Key", key)
	r.send(t, ann, "POST", "/purchases", order(tea, 7), "Idempotency-Key", "another")
	find := "/purchases?idempotency_key=" + url.QueryEscape(key)
	a := r.send(t, ann, "GET", find, "")
	items, _ := a.body["items"].([]any)
	if a.status != 200 || len(items) != 1 || items[0].(map[string]any)["id"] != bought.body["id"] || a.body["next_cursor"] != nil {
		t.Errorf("%s, want %s", a, bought)
	}
	for _, none := range []answer{r.send(t, bob, "GET", find, ""), r.send(t, ann, "GET", "/purchases?idempotency_key=none", "")} {
		if items, ok := none.body["items"].([]any); none.status != 200 || !ok || len(items) != 0 {
			t.Errorf("%s, want an empty list", none)
		}
	}
	for query, status := range map[string]int{"&status=pending": 422, "&from=2026-01-01T00:00:00Z": 422, "&limit=1": 200} {
		if a := r.send(t, ann, "GET", find+query, ""); a.status != status {
			t.Errorf("%s: %s", query, a)
		}
	}
	if a := r.send(t, ann, "GET", "/purchases?idempotency_key=", ""); a.status != 400 {
		t.Errorf("an empty key: %s", a)
	}
}

// Problems of requests with a key say what becomes of it. A key makes one product.
func TestProblemsAndProductsWithAKey(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	newBilling(t, s, declined("insufficient_funds", new(int64(5))))
	r := s.start(t, nil)
	ann, admin := s.token(t, 2, "user"), s.token(t, 1, "admin")
	tea := r.product(t, "tea", "3.50")
	for name, test := range map[string]struct {
		token, path, body string
		status            int
		retry             any
	}{
		"declined": {ann, "/purchases", order(tea, 7), 402, "new_key"}, "no such product": {ann, "/purchases", order(999999, 7), 404, "never"},
		"malformed": {ann, "/purchases", `{`, 400, "never"}, "no token": {"", "/purchases", order(tea, 7), 401, "same_key"}, "not an admin": {ann, "/products", `{}`, 403, "never"},
	} {
		if a := r.send(t, test.token, "POST", test.path, test.body, "Idempotency-Key", name); a.status != test.status || a.body["retry"] != test.retry {
			t.Errorf("%s: %s, retry %v, want %d and %v", name, a, a.body["retry"], test.status, test.retry)
		}
		if a := r.send(t, test.token, "POST", test.path, test.body); a.body["retry"] != nil {
			t.Errorf("%s without a key: %s", name, a)
		}
	}
	const body = `{"title":"samovar","description":"","price":59.90,"sku":"SAM-3"}`
	first := r.send(t, admin, "POST", "/products", body, "Idempotency-Key", "samovar")
	if first.status != 201 || first.header.Get("Idempotent-Replayed") != "" {
		t.Fatal(first)
	}
	again := r.send(t, admin, "POST", "/products", body, "Idempotency-Key", "samovar")
	if again.status != 201 || again.text != first.text || again.header.Get("Idempotent-Replayed") != "true" || again.header.Get("ETag") != first.header.Get("ETag") || again.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("repeated: %s %v, want %s", again, again.header, first)
	}
	if a := r.send(t, admin, "POST", "/products", `{"title":"samovar","description":"","price":60}`, "Idempotency-Key", "samovar"); a.code() != "idempotency_key_reused" || a.status != 422 || a.body["retry"] != "new_key" {
		t.Errorf("other content: %s", a)
	}
	if a := r.send(t, admin, "POST", "/products", body, "Idempotency-Key", "other"); a.code() != "sku_taken" || a.body["retry"] != "never" {
		t.Errorf("the same sku: %s", a)
	}
}
