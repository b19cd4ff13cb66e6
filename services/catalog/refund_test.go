package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lavka/libs/contract/wire"
	"lavka/libs/testkit/waittest"
)

// buy makes a purchase of 10.00 by user 7 from bill 70, and returns its id.
func (r *replica) buy(t *testing.T) string {
	t.Helper()
	product := r.product(t, "a bell", "10")
	a := r.send(t, r.token(t, 7, "user"), "POST", "/purchases", fmt.Sprintf(`{"product_id":%d,"bill_id":70}`, product))
	if a.status != http.StatusCreated && a.status != http.StatusAccepted {
		t.Fatalf("buy: %s", a)
	}
	return a.body["id"].(string)
}

func (s *shop) open(t *testing.T) {
	t.Helper()
	if _, err := s.owner.Exec(t.Context(), `UPDATE catalog.opened SET level = 1`); err != nil {
		t.Fatal(err)
	}
}

func (r *replica) refund(t *testing.T, purchase, key, body string) answer {
	t.Helper()
	return r.send(t, r.token(t, 1, "admin"), "POST", "/purchases/"+purchase+"/refunds", body, "Idempotency-Key", key)
}

func TestRefundsOfAPurchase(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.open(t)
	b := newBilling(t, s, settled)
	r := s.start(t, nil)
	id := r.buy(t)
	path := "/purchases/" + id + "/refunds"
	admin, buyer, other := r.token(t, 1, "admin"), r.token(t, 7, "user"), r.token(t, 8, "user")

	a := r.refund(t, id, "first", `{"amount":2.5,"reason":"A dent","note":"photo 17"}`)
	if a.status != 201 || a.header.Get("Location") != path || a.body["amount"] != 2.5 || a.body["status"] != "completed" || a.body["transaction_id"] != 43.0 ||
		a.body["requested_by"] != 1.0 || a.body["user_id"] != 7.0 || a.body["note"] != "photo 17" || a.body["bill_id"] != 70.0 {
		t.Fatalf("%s", a)
	}
	if m := b.refundsReceived()[0]; m.Minor != 250 || m.Bill != 70 || m.Payer != 7 || m.OfPurchase.String() != id || m.Force {
		t.Errorf("%+v", m)
	}
	for _, c := range []struct {
		what, key, body, code string
		status                int
	}{
		{"repeated", "first", `{"amount":2.5,"reason":"A dent","note":"photo 17"}`, "", 201},
		{"another amount under the key", "first", `{"amount":2.4,"reason":"A dent","note":"photo 17"}`, "idempotency_key_reused", 422},
		{"no amount under the key", "first", `{"reason":"A dent","note":"photo 17"}`, "idempotency_key_reused", 422},
		{"another note under the key", "first", `{"amount":2.5,"reason":"A dent"}`, "idempotency_key_reused", 422},
		{"another reason under the key", "first", `{"amount":2.5,"reason":"A scratch","note":"photo 17"}`, "idempotency_key_reused", 422},
		{"force under the key", "first", `{"amount":2.5,"reason":"A dent","note":"photo 17","force":true}`, "idempotency_key_reused", 422},
		{"too much", "second", `{"amount":7.51,"reason":"A dent"}`, "refund_exceeds", 409},
		{"no reason", "second", `{"amount":1}`, "validation_failed", 422},
		{"an invisible reason", "second", `{"amount":1,"reason":" "}`, "validation_failed", 422},
		{"two lines of reason", "second", `{"amount":1,"reason":"a\nb"}`, "validation_failed", 422},
		{"a long reason", "second", `{"amount":1,"reason":"` + strings.Repeat("x", 201) + `"}`, "validation_failed", 422},
		{"a long note", "second", `{"amount":1,"reason":"x","note":"` + strings.Repeat("x", 2001) + `"}`, "validation_failed", 422},
		{"an unprintable note", "second", `{"amount":1,"reason":"x","note":"\u0007"}`, "validation_failed", 422},
		{"nothing", "second", `{"amount":0,"reason":"x"}`, "invalid_amount", 422},
		{"less than nothing", "second", `{"amount":-1,"reason":"x"}`, "invalid_amount", 422},
		{"three decimals", "second", `{"amount":1.001,"reason":"x"}`, "invalid_amount", 422},
		{"an unknown member", "second", `{"amount":1,"reason":"x","bill_id":71}`, "malformed", 400},
		{"an empty key", "", `{"amount":1,"reason":"x"}`, "malformed", 400},
		{"a long key", strings.Repeat("k", 256), `{"amount":1,"reason":"x"}`, "malformed", 400},
		{"what is left, under the key that was not used up", "second", `{"reason":"The rest"}`, "", 201},
		{"repeated without an amount", "second", `{"reason":"The rest"}`, "", 201},
		{"an amount under its key", "second", `{"amount":7.5,"reason":"The rest"}`, "idempotency_key_reused", 422},
		{"nothing is left", "third", `{"reason":"x"}`, "refund_exceeds", 409},
	} {
		a := r.refund(t, id, c.key, c.body)
		code, _ := a.code().(string)
		if a.status != c.status || code != c.code || (a.header.Get("Idempotent-Replayed") == "true") != strings.HasPrefix(c.what, "repeated") {
			t.Errorf("%s: %s", c.what, a)
		}
		if c.code == "refund_exceeds" && (a.body["refundable"] == nil || a.body["refund_id"] != nil) {
			t.Errorf("%s: %s", c.what, a)
		}
	}
	if a := r.send(t, admin, "POST", path, `{"reason":"x"}`); a.status != 400 || a.code() != "malformed" || !strings.Contains(a.text, "a refund needs an Idempotency-Key") {
		t.Errorf("without a key: %s", a)
	}
	if a := r.send(t, buyer, "POST", path, `{"reason":"x"}`, "Idempotency-Key", "mine"); a.status != 403 || a.code() != "forbidden" {
		t.Errorf("by the buyer: %s", a)
	}
	if a := r.refund(t, "00000000-0000-7000-8000-000000000000", "k", `{"reason":"x"}`); a.status != 404 || a.code() != "purchase_not_found" {
		t.Errorf("of no purchase: %s", a)
	}
	if n := s.number(t, `SELECT count(*) FROM catalog.refunds`); n != 2 {
		t.Errorf("%d refunds are stored, want 2", n)
	}

	if a := r.send(t, buyer, "GET", "/purchases/"+id, ""); a.body["refunded"] != 10.0 || a.body["status"] != "completed" {
		t.Errorf("the purchase: %s", a)
	}
	if a := r.send(t, buyer, "GET", path+"?limit=1", ""); a.status != 200 || !strings.Contains(a.text, "The rest") || strings.Contains(a.text, "A dent") || a.body["next_cursor"] == nil {
		t.Errorf("the first page: %s", a)
	} else if a := r.send(t, buyer, "GET", path+"?limit=1&cursor="+a.body["next_cursor"].(string), ""); a.status != 200 || !strings.Contains(a.text, "A dent") ||
		strings.Contains(a.text, "photo 17") || strings.Contains(a.text, "requested_by") || a.body["next_cursor"] != nil {
		t.Errorf("the second page: %s", a)
	}
	if a := r.send(t, admin, "GET", path, ""); a.status != 200 || !strings.Contains(a.text, "photo 17") || !strings.Contains(a.text, `"requested_by":1`) {
		t.Errorf("the admin's list: %s", a)
	}
	if a := r.send(t, other, "GET", path, ""); a.status != 404 || a.code() != "purchase_not_found" {
		t.Errorf("another user's list: %s", a)
	}
}

// Billing's declines are stored and repeated under their key; they give nothing back,
// so that another refund may.
func TestDeclinedRefunds(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.open(t)
	b := newBilling(t, s, settled)
	r := s.start(t, nil)
	id := r.buy(t)
	for _, c := range []struct {
		reason string
		status int
		left   *int64
	}{{"refund_exceeds", 409, new(int64(150))}, {"balance_limit", 422, nil}, {"charge_not_found", 409, nil}, {"bill_owes", 409, nil}} {
		b.decidesRefunds(refundDeclined(c.reason, c.left))
		first := r.refund(t, id, c.reason, `{"reason":"x"}`)
		if first.status != c.status || first.code() != c.reason || first.body["refund_id"] == nil || (c.left != nil && first.body["refundable"] != 1.5) {
			t.Errorf("%s: %s", c.reason, first)
		}
		b.decidesRefunds(refunded)
		again := r.refund(t, id, c.reason, `{"reason":"x"}`)
		if again.status != c.status || again.body["refund_id"] != first.body["refund_id"] || again.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%s, repeated: %s", c.reason, again)
		}
	}
	if a := r.refund(t, id, "forced", `{"reason":"x","force":true}`); a.status != 201 || a.body["amount"] != 10.0 || a.body["force"] != true {
		t.Errorf("%s", a)
	}
	if m := b.refundsReceived(); !m[len(m)-1].Force {
		t.Errorf("%+v", m[len(m)-1])
	}
}

// While billing does not answer, a refund is pending: it counts, an admin sees it in
// the list, the sweeper sends it again, and a repeat waits for its answer.
func TestAPendingRefund(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.open(t)
	b := newBilling(t, s, settled)
	b.decidesRefunds(undecided)
	r := s.start(t, func(c *Config) { c.PurchaseWait = 100 * time.Millisecond })
	id := r.buy(t)
	admin := r.token(t, 1, "admin")
	waittest.Eventually(t, "the purchase is completed", func() bool {
		return r.send(t, r.token(t, 7, "user"), "GET", "/purchases/"+id, "").body["status"] == "completed"
	})
	a := r.refund(t, id, "first", `{"amount":6,"reason":"x"}`)
	if a.status != 202 || a.header.Get("Retry-After") == "" || a.header.Get("Location") == "" || a.body["status"] != "pending" {
		t.Fatalf("%s", a)
	}
	if a := r.refund(t, id, "second", `{"amount":4.01,"reason":"x"}`); a.status != 409 || a.code() != "refund_exceeds" || a.body["refundable"] != 4.0 {
		t.Errorf("beside a pending one: %s", a)
	}
	if a := r.refund(t, id, "first", `{"amount":6,"reason":"x"}`); a.status != 202 || a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("repeated: %s", a)
	}
	if a := r.refund(t, id, "second", `{"reason":"x"}`); a.status != 202 || a.body["amount"] != 4.0 {
		t.Errorf("what is left: %s", a)
	}
	list := r.send(t, admin, "GET", "/admin/refunds?status=pending&limit=1", "")
	if list.status != 200 || !strings.Contains(list.text, `"amount":6`) || list.body["next_cursor"] == nil {
		t.Errorf("%s", list)
	} else if list := r.send(t, admin, "GET", "/admin/refunds?status=pending&limit=1&cursor="+list.body["next_cursor"].(string), ""); !strings.Contains(list.text, `"amount":4`) || list.body["next_cursor"] != nil {
		t.Errorf("%s", list)
	}
	for query, status := range map[string]int{"": 200, "?status=completed": 422, "?status=pending&user_id=7": 422, "?status=x": 422, "?from=2026-01-01T00:00:00Z": 422, "?since=2026": 400} {
		if a := r.send(t, admin, "GET", "/admin/refunds"+query, ""); a.status != status {
			t.Errorf("%s: %s", query, a)
		}
	}
	if a := r.send(t, r.token(t, 7, "user"), "GET", "/admin/refunds?status=pending", ""); a.status != 403 {
		t.Errorf("%s", a)
	}
	if a := r.send(t, r.token(t, 7, "user"), "GET", "/purchases/"+id, ""); a.body["refunded"] != nil {
		t.Errorf("a pending refund is shown as refunded: %s", a)
	}
	b.decidesRefunds(refunded)
	waittest.Eventually(t, "the sweeper retries", func() bool {
		return r.send(t, r.token(t, 7, "user"), "GET", "/purchases/"+id, "").body["refunded"] == 10.0
	})
	if a := r.refund(t, id, "first", `{"amount":6,"reason":"x"}`); a.status != 201 || a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("%s", a)
	}
}

// Before the purchase's own answer is written, nothing is refunded, and the key can be
// used later.
func TestARefundBeforeThePurchaseIsCompleted(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.open(t)
	b := newBilling(t, s, silent)
	r := s.start(t, func(c *Config) { c.PurchaseWait = 100 * time.Millisecond })
	id := r.buy(t)
	if a := r.refund(t, id, "k", `{"reason":"x"}`); a.status != 409 || a.code() != "purchase_not_completed" {
		t.Errorf("%s", a)
	}
	b.decides(settled)
	waittest.Eventually(t, "the purchase is completed", func() bool {
		return r.send(t, r.token(t, 7, "user"), "GET", "/purchases/"+id, "").body["status"] == "completed"
	})
	waittest.Eventually(t, "the refund", func() bool { return r.refund(t, id, "k", `{"reason":"x"}`).status == 201 })
	if n := s.number(t, `SELECT count(*) FROM catalog.refunds`); n != 1 {
		t.Errorf("%d refunds", n)
	}
}

// A key that is used fifty times at once, in two replicas, refunds once.
func TestARefundsKeyFiftyTimesAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.open(t)
	newBilling(t, s, settled)
	replicas := []*replica{s.start(t, nil), s.start(t, nil)}
	id := replicas[0].buy(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	seen, fresh := map[any]int{}, 0
	for i := range 50 {
		all.Go(func() {
			a := replicas[i%2].refund(t, id, "k", `{"amount":3,"reason":"x"}`)
			if a.status != 201 {
				t.Errorf("%s", a)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[a.body["id"]]++
			if a.header.Get("Idempotent-Replayed") == "" {
				fresh++
			}
		})
	}
	all.Wait()
	if len(seen) != 1 || fresh != 1 {
		t.Errorf("%v, of which %d are not repeats", seen, fresh)
	}
	if n := s.number(t, `SELECT count(*) FROM catalog.refunds`); n != 1 {
		t.Errorf("%d refunds", n)
	}
}

// Two hundred refunds at once, in two replicas, with keys of their own: together they
// are never more than the price, and the purchase has a hundred at most.
func TestTwoHundredRefundsOfOnePurchase(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		amount      string
		refunds     int // of a price of 10
		sum         int // in cents
		refusedWith string
	}{
		{amount: "0.15", refunds: 66, sum: 990, refusedWith: "refund_exceeds"},
		{amount: "0.01", refunds: 100, sum: 100, refusedWith: "too_many_refunds"},
	} {
		t.Run(test.refusedWith, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.open(t)
			newBilling(t, s, settled)
			replicas := []*replica{s.start(t, nil), s.start(t, nil)}
			id := replicas[0].buy(t)
			body := `{"amount":` + test.amount + `,"reason":"x"}`
			var all sync.WaitGroup
			for i := range 200 {
				all.Go(func() {
					a := replicas[i%2].refund(t, id, fmt.Sprint(i), body)
					for a.status == 503 { // two replicas take turns
						a = replicas[i%2].refund(t, id, fmt.Sprint(i), body)
					}
					if a.status != 201 && a.code() != test.refusedWith {
						t.Errorf("%s", a)
					}
				})
			}
			all.Wait()
			if n := s.number(t, `SELECT count(*) FROM catalog.refunds`); n != test.refunds {
				t.Errorf("%d refunds, want %d", n, test.refunds)
			}
			if sum := s.number(t, `SELECT sum(amount) FROM catalog.refunds WHERE status = 'completed'`); sum != test.sum {
				t.Errorf("%d cents refunded, want %d", sum, test.sum)
			}
		})
	}
}

// Until the upgrade is complete, no refund is written.
func TestRefundsAreClosed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	newBilling(t, s, settled)
	r := s.start(t, nil)
	id := r.buy(t)
	if a := r.refund(t, id, "k", `{"reason":"x"}`); a.status != 503 || a.code() != "not_open_yet" {
		t.Errorf("%s", a)
	}
	if n := s.number(t, `SELECT count(*) FROM catalog.refunds`); n != 0 {
		t.Errorf("%d refunds", n)
	}
	s.open(t)
	waittest.Eventually(t, "refunds are open", func() bool { return r.refund(t, id, "k", `{"reason":"x"}`).status == 201 })
}

// An answer of another kind leaves refunds and purchases alone.
func TestAnswersGoToTheirOwnKind(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.open(t)
	b := newBilling(t, s, settled)
	b.decidesRefunds(func(m wire.RefundRequested) *wire.RefundAnswered { return nil })
	r := s.start(t, func(c *Config) { c.PurchaseWait = 100 * time.Millisecond })
	id := r.buy(t)
	waittest.Eventually(t, "the refund is pending", func() bool { return r.refund(t, id, "k", `{"reason":"x"}`).status == 202 })
	refund := b.refundsReceived()[0].RefundID
	header := b.received()[0].header.Get(wire.HeaderReply)
	b.answer(t, header, wire.PurchaseAnswered{V: 1, PurchaseID: refund, Outcome: wire.Settled, TransactionID: new(int64(9))})
	b.decidesRefunds(refunded)
	waittest.Eventually(t, "the refund is completed", func() bool { return r.refund(t, id, "k", `{"reason":"x"}`).status == 201 })
	if n := s.number(t, `SELECT transaction_id FROM catalog.refunds`); n != 43 {
		t.Errorf("transaction %d", n)
	}
}
