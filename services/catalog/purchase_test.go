package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lavka/libs/wire"
)

func order(product, bill int64) string {
	return fmt.Sprintf(`{"product_id":%d,"bill_id":%d}`, product, bill)
}

func TestBuying(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b := newBilling(t, s, settled)
	r := s.start(t, nil)
	ann, bob := s.token(t, 2, "user"), s.token(t, 3, "user")
	tea := r.product(t, "tea", "3.50")

	a := r.send(t, ann, "POST", "/purchases", fmt.Sprintf(`{"product_id":%d,"bill_id":7,"expected_price":3.5}`, tea), "Idempotency-Key", "k 1")
	if a.status != 201 || a.body["status"] != "completed" || a.body["transaction_id"] != 42.0 || a.body["title"] != "tea" || a.body["settled_at"] == nil || a.body["decline_reason"] != nil {
		t.Fatalf("bought: %s", a)
	}
	if !strings.Contains(a.text, `"price":3.50,`) {
		t.Errorf("the price is not exact: %s", a.text)
	}
	location := a.header.Get("Location")
	if location != "/purchases/"+a.body["id"].(string) || a.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("headers %v", a.header)
	}
	if got := r.send(t, ann, "GET", location, ""); got.text != a.text {
		t.Errorf("GET shows %s, was told %s", got, a)
	}
	if got := r.send(t, bob, "GET", location, ""); got.status != 404 || got.code() != "purchase_not_found" {
		t.Errorf("somebody else's purchase: %s", got)
	}
	again := r.send(t, ann, "POST", "/purchases", fmt.Sprintf(`{"product_id":%d,"bill_id":7,"expected_price":3.50}`, tea), "Idempotency-Key", "k 1")
	if again.status != 201 || again.text != a.text || again.header.Get("Idempotent-Replayed") != "true" || again.header.Get("Location") != location {
		t.Errorf("the repeat: %s %v", again, again.header)
	}
	if other := r.send(t, bob, "POST", "/purchases", order(tea, 7), "Idempotency-Key", "k 1"); other.status != 201 || other.body["id"] == a.body["id"] {
		t.Errorf("somebody else's key: %s", other)
	}

	heard := b.heard()
	if len(heard) != 2 {
		t.Fatalf("billing heard %d requests", len(heard))
	}
	m := heard[0]
	if m.UserID != 2 || m.BillID != 7 || m.Amount != 350 || m.PurchaseID.String() != a.body["id"] || time.Until(m.ExpiresAt) < 14*time.Minute || m.ExpiresAt.Location() != time.UTC {
		t.Errorf("request %+v", m)
	}
	if h := m.header; h.Get("Nats-Msg-Id") != "" || !strings.HasPrefix(h.Get(wire.HeaderReply), wire.SubjectAnswered+".") || len(h.Get("traceparent")) != 55 {
		t.Errorf("headers %v", h)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	newBilling(t, s, settled)
	r := s.start(t, nil)
	ann := s.token(t, 2, "user")
	tea, gone := r.product(t, "tea", "3.50"), r.product(t, "gone", "1")
	if a := r.send(t, s.token(t, 1, "admin"), "DELETE", fmt.Sprintf("/products/%d", gone), ""); a.status != 204 {
		t.Fatal(a)
	}
	if a := r.send(t, ann, "POST", "/purchases", order(tea, 7), "Idempotency-Key", "used"); a.status != 201 {
		t.Fatal(a)
	}
	good := order(tea, 7)
	for _, c := range []struct {
		name, body string
		headers    []string
		status     int
		code       string
	}{
		{"no such product", order(999_999, 7), nil, 404, "product_not_found"},
		{"deleted product", order(gone, 7), nil, 404, "product_not_found"},
		{"another price", fmt.Sprintf(`{"product_id":%d,"bill_id":7,"expected_price":3.49}`, tea), nil, 409, "price_changed"},
		{"key of another bill", order(tea, 8), []string{"Idempotency-Key", "used"}, 422, "idempotency_key_reused"},
		{"key of another product", order(gone, 7), []string{"Idempotency-Key", "used"}, 422, "idempotency_key_reused"},
		{"key without a price", fmt.Sprintf(`{"product_id":%d,"bill_id":7,"expected_price":3.50}`, tea), []string{"Idempotency-Key", "used"}, 422, "idempotency_key_reused"},
		{"empty key", good, []string{"Idempotency-Key", ""}, 400, "malformed"},
		{"two keys", good, []string{"Idempotency-Key", "a", "Idempotency-Key", "b"}, 400, "malformed"},
		{"long key", good, []string{"Idempotency-Key", strings.Repeat("k", 256)}, 400, "malformed"},
		{"key not ASCII", good, []string{"Idempotency-Key", "ключ"}, 400, "malformed"},
		{"no ids", `{}`, nil, 422, "validation_failed"},
		{"negative bill", order(tea, -1), nil, 422, "validation_failed"},
		{"free", fmt.Sprintf(`{"product_id":%d,"bill_id":7,"expected_price":0}`, tea), nil, 422, "invalid_amount"},
		{"three decimals", fmt.Sprintf(`{"product_id":%d,"bill_id":7,"expected_price":3.500}`, tea), nil, 422, "invalid_amount"},
		{"price in words", fmt.Sprintf(`{"product_id":%d,"bill_id":7,"expected_price":"3.5"}`, tea), nil, 400, "malformed"},
		{"id in words", `{"product_id":"1","bill_id":7}`, nil, 400, "malformed"},
		{"id beyond int64", `{"product_id":9223372036854775808,"bill_id":7}`, nil, 400, "malformed"},
		{"twice", `{"product_id":1,"product_id":1,"bill_id":7}`, nil, 400, "malformed"},
		{"another case", `{"Product_id":1,"bill_id":7}`, nil, 400, "malformed"},
		{"unknown member", `{"product_id":1,"bill_id":7,"amount":1}`, nil, 400, "malformed"},
		{"trailing", good + `{}`, nil, 400, "malformed"},
		{"no JSON", `product_id=1`, nil, 400, "malformed"},
		{"too long", `{"x":"` + strings.Repeat("x", 65<<10) + `"}`, nil, 413, "body_too_large"},
	} {
		a := r.send(t, ann, "POST", "/purchases", c.body, c.headers...)
		if a.status != c.status || a.code() != c.code || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s, want %d %s", c.name, a, c.status, c.code)
		}
		if c.code == "price_changed" && a.body["price"] != 3.5 {
			t.Errorf("%s: the price is not told: %s", c.name, a)
		}
	}
	if a := r.send(t, ann, "POST", "/purchases", "", "Content-Type", "text/plain"); a.status != 415 {
		t.Errorf("text: %s", a)
	}
	if n := s.number(t, `SELECT count(*) FROM catalog.purchases`); n != 1 {
		t.Errorf("%d purchases, want the one that was bought", n)
	}
}

func TestDeclinesAreStoredAndRepeated(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b := newBilling(t, s, settled)
	r := s.start(t, nil)
	ann := s.token(t, 2, "user")
	tea := r.product(t, "tea", "3.50")
	for _, c := range []struct {
		reason, code string
		status       int
	}{
		{wire.InsufficientFunds, "insufficient_funds", 402},
		{wire.BillNotFound, "bill_not_found", 404},
		{wire.BuyerDisabled, "user_disabled", 403},
		{wire.Expired, "purchase_expired", 409},
	} {
		b.decides(declined(c.reason, new(int64(120))))
		first := r.send(t, ann, "POST", "/purchases", order(tea, 7), "Idempotency-Key", c.reason)
		b.decides(settled)
		again := r.send(t, ann, "POST", "/purchases", order(tea, 7), "Idempotency-Key", c.reason)
		for i, a := range []answer{first, again} {
			if a.status != c.status || a.code() != c.code || (a.header.Get("Idempotent-Replayed") == "true") != (i == 1) {
				t.Errorf("%s: %s %v", c.reason, a, a.header)
			}
			if c.reason == wire.InsufficientFunds && (!strings.Contains(a.text, `"balance":1.20,`) || !strings.Contains(a.text, `"price":3.50,`)) {
				t.Errorf("%s", a)
			}
		}
		if first.body["purchase_id"] == nil || first.body["purchase_id"] != again.body["purchase_id"] {
			t.Errorf("%s: %s, then %s", c.reason, first, again)
		}
		got := r.send(t, ann, "GET", fmt.Sprint("/purchases/", first.body["purchase_id"]), "")
		if got.status != 200 || got.body["status"] != "declined" || got.body["decline_reason"] != c.reason || got.body["settled_at"] == nil || got.body["transaction_id"] != nil {
			t.Errorf("%s: %s", c.reason, got)
		}
	}
}

func TestALateAnswer(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b := newBilling(t, s, silent)
	r := s.start(t, func(cfg *settings) { cfg.PurchaseWait = 50 * time.Millisecond })
	ann := s.token(t, 2, "user")
	tea := r.product(t, "tea", "3.50")
	a := r.send(t, ann, "POST", "/purchases", order(tea, 7), "Idempotency-Key", "k")
	if a.status != 202 || a.body["status"] != "pending" || a.header.Get("Location") == "" || a.header.Get("Retry-After") == "" || a.body["settled_at"] != nil {
		t.Fatalf("%s %v", a, a.header)
	}
	// A repeat asks again, and waits like the first.
	again := r.send(t, ann, "POST", "/purchases", order(tea, 7), "Idempotency-Key", "k")
	if again.status != 202 || again.body["id"] != a.body["id"] || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the repeat: %s %v", again, again.header)
	}
	until(t, func() bool { return len(b.heard()) >= 2 })
	m := b.heard()[0]
	reply := m.header.Get(wire.HeaderReply)
	for _, nonsense := range []string{"", "{", `{"v":1}`, `{"v":9,"purchase_id":"` + m.PurchaseID.String() + `","outcome":"settled","transaction_id":1}`} {
		if err := b.nc.Publish(reply, []byte(nonsense)); err != nil {
			t.Fatal(err)
		}
	}
	unknown := m.PurchaseID
	unknown[15]++
	b.answer(t, reply, unknown, *settled(m.PurchaseRequested))
	b.answer(t, reply, m.PurchaseID, *settled(m.PurchaseRequested))
	until(t, func() bool {
		return r.send(t, ann, "GET", a.header.Get("Location"), "").body["status"] == "completed"
	})
	// The second answer changes nothing.
	b.answer(t, reply, m.PurchaseID, *declined(wire.Expired, nil)(m.PurchaseRequested))
	b.decides(declined(wire.Expired, nil))
	last := r.send(t, ann, "POST", "/purchases", order(tea, 7), "Idempotency-Key", "k")
	if last.status != 201 || last.body["transaction_id"] != 42.0 {
		t.Errorf("in the end: %s", last)
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
		t.Errorf("%d purchases, %d answers that are no repeat", n, first)
	}
}

func TestTheSweeperSendsWhatWasNeverSent(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	r := s.start(t, func(cfg *settings) { cfg.PurchaseWait = 200 * time.Millisecond })
	ann := s.token(t, 2, "user")
	tea := r.product(t, "tea", "3.50")
	// Nobody has made the stream yet.
	if a := r.send(t, ann, "POST", "/purchases", order(tea, 7)); a.status != 202 {
		t.Fatal(a)
	}
	// Nobody is there at all.
	s.nats.Stop()
	until(t, func() bool { return strings.Contains(r.metrics(t), "\ncatalog_nats_connected 0") })
	if a := r.send(t, ann, "POST", "/purchases", order(tea, 7)); a.status != 202 {
		t.Fatal(a)
	}
	s.nats.Start()
	b := newBilling(t, s, settled)
	until(t, func() bool {
		return s.number(t, `SELECT count(*) FROM catalog.purchases WHERE status = 'completed'`) == 2
	})
	if !strings.Contains(r.metrics(t), "\ncatalog_purchases_resent_total ") {
		t.Error("no metric tells of it")
	}
	if s.number(t, `SELECT min(claimed) FROM catalog.purchases`) < 1 || len(b.heard()) < 2 {
		t.Errorf("not the sweeper's doing: %d requests", len(b.heard()))
	}
}

func TestTooManyPending(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b := newBilling(t, s, silent)
	r := s.start(t, func(cfg *settings) {
		cfg.PurchaseWait, cfg.PendingMax, cfg.PendingMaxPerUser = 20*time.Millisecond, 3, 2
	})
	ann, bob := s.token(t, 2, "user"), s.token(t, 3, "user")
	tea := r.product(t, "tea", "3.50")
	buy := func(who, key string) answer {
		return r.send(t, who, "POST", "/purchases", order(tea, 7), "Idempotency-Key", key)
	}
	for _, c := range []struct {
		who, key string
		status   int
	}{{ann, "1", 202}, {ann, "2", 202}, {ann, "3", 503}, {ann, "1", 202}, {bob, "1", 202}, {bob, "2", 503}, {bob, "1", 202}} {
		a := buy(c.who, c.key)
		if a.status != c.status || (a.status == 503 && (a.code() != "overloaded" || a.header.Get("Retry-After") == "")) {
			t.Errorf("key %s: %s, want %d", c.key, a, c.status)
		}
	}
	// Settled ones make room.
	b.decides(settled)
	for _, m := range b.heard() {
		b.answer(t, m.header.Get(wire.HeaderReply), m.PurchaseID, *settled(m.PurchaseRequested))
	}
	until(t, func() bool { return buy(ann, "3").status != 503 })
	if n := s.number(t, `SELECT count(*) FROM catalog.purchases`); n != 4 {
		t.Errorf("%d purchases, want 4", n)
	}
}

func TestPurchasesComeInStablePages(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b := newBilling(t, s, settled)
	r := s.start(t, nil)
	ann := s.token(t, 2, "user")
	tea := r.product(t, "tea", "3.50")
	want := map[string]bool{}
	for i := range 9 {
		b.decides(settled)
		if i%3 == 0 {
			b.decides(declined(wire.BillNotFound, nil))
		}
		a := r.send(t, ann, "POST", "/purchases", order(tea, 7))
		if id, ok := a.body["id"].(string); ok {
			want[id] = true
		} else {
			want[a.body["purchase_id"].(string)] = true
		}
	}
	b.decides(settled)
	last, cursor, pages := "~", "", 0
	for {
		a := r.send(t, ann, "GET", "/purchases?limit=4&cursor="+cursor, "")
		if a.status != http.StatusOK {
			t.Fatal(a)
		}
		for _, item := range a.body["items"].([]any) {
			id := item.(map[string]any)["id"].(string)
			if !want[id] || id >= last {
				t.Errorf("%s after %s", id, last)
			}
			delete(want, id)
			last = id
		}
		pages++
		next, ok := a.body["next_cursor"].(string)
		if !ok {
			break
		}
		cursor = next
		r.send(t, ann, "POST", "/purchases", order(tea, 7))
	}
	if len(want) != 0 || pages != 3 {
		t.Errorf("%d were never shown, on %d pages", len(want), pages)
	}
	for query, status := range map[string]int{
		"status=declined": 200, "status=lost": 422, "limit=0": 422, "limit=101": 422, "limit=x": 400, "cursor=x": 400, "cursor=" + cursor: 200, "status=%00": 400,
	} {
		a := r.send(t, ann, "GET", "/purchases?"+query, "")
		if a.status != status {
			t.Errorf("%s: %s, want %d", query, a, status)
		}
		if query == "status=declined" && len(a.body["items"].([]any)) != 3 {
			t.Errorf("declined: %s", a)
		}
	}
	if a := r.send(t, ann, "GET", "/purchases/not-a-uuid", ""); a.status != 400 {
		t.Errorf("%s", a)
	}
	if a := r.send(t, s.token(t, 3, "user"), "GET", "/purchases", ""); a.text != `{"items":[],"next_cursor":null}`+"\n" {
		t.Errorf("somebody else sees %s", a)
	}
}
