package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"lavka/libs/contract/wire"
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
		t.Errorf("GET returns %s, POST returned %s", got, a)
	}
	if got := r.send(t, bob, "GET", location, ""); got.status != 404 || got.code() != "purchase_not_found" {
		t.Errorf("another user's purchase: %s", got)
	}
	again := r.send(t, ann, "POST", "/purchases", fmt.Sprintf(`{"product_id":%d,"bill_id":7,"expected_price":3.50}`, tea), "Idempotency-Key", "k 1")
	if again.status != 201 || again.text != a.text || again.header.Get("Idempotent-Replayed") != "true" || again.header.Get("Location") != location {
		t.Errorf("the repeat: %s %v", again, again.header)
	}
	if other := r.send(t, bob, "POST", "/purchases", order(tea, 7), "Idempotency-Key", "k 1"); other.status != 201 || other.body["id"] == a.body["id"] {
		t.Errorf("another user's key: %s", other)
	}

	received := b.received()
	if len(received) != 2 {
		t.Fatalf("billing got %d requests, want 2", len(received))
	}
	m := received[0]
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
		{"no price at all", fmt.Sprintf(`{"product_id":%d,"bill_id":7,"expected_price":null}`, tea), nil, 400, "malformed"},
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
		if c.name == "no ids" && strings.Count(a.text, "is required") != 2 {
			t.Errorf("%s: %s", c.name, a)
		}
		if c.code == "price_changed" && a.body["price"] != 3.5 {
			t.Errorf("%s: the response lacks the price: %s", c.name, a)
		}
	}
	if a := r.send(t, ann, "POST", "/purchases", "", "Content-Type", "text/plain"); a.status != 415 {
		t.Errorf("text: %s", a)
	}
	if n := s.number(t, `SELECT count(*) FROM catalog.purchases`); n != 1 {
		t.Errorf("%d purchases, want only the first", n)
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
		t.Errorf("%d purchases were never listed; %d pages, want 3", len(want), pages)
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
	const id = "01976b1e-0000-7000-8000-000000000001"
	for _, form := range []string{"urn:uuid:" + id, "%7B" + id + "%7D", strings.ReplaceAll(id, "-", "")} {
		if a := r.send(t, ann, "GET", "/purchases/"+form, ""); a.status != 400 {
			t.Errorf("%s: %s", form, a)
		}
	}
	if a := r.send(t, ann, "GET", "/purchases/not-a-uuid", ""); a.status != 400 {
		t.Errorf("%s", a)
	}
	if a := r.send(t, s.token(t, 3, "user"), "GET", "/purchases", ""); a.text != `{"items":[],"next_cursor":null}`+"\n" {
		t.Errorf("another user sees %s", a)
	}
}
