package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"lavka/libs/testkit/waittest"
)

func TestTheLastPriceIsTakenOnce(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	product := shop.product(t, "a cup of tea", "1.25")
	bill := shop.bill(t, u, "125")
	outcomes := atOnce(256, func() string {
		a := u.call(t, "POST", "/purchases", purchaseOf(product, bill))
		if a.status == 402 && (a.str("price") != "1.25" || a.str("purchase_id") == "" || a.str("balance") == "") {
			t.Errorf("%s", a)
		}
		return settled(t, u, a)
	})
	if outcomes["completed"] != 100 || outcomes["insufficient_funds"] != 156 {
		t.Errorf("%v, want 100 completed and 156 declined", outcomes)
	}
	if b := u.balance(t, bill); b != "0" {
		t.Errorf("balance %s, want 0", b)
	}
	debits := 0
	for _, item := range pages(t, u.client, fmt.Sprintf("/transactions?bill_id=%d&type=purchase", bill), 100) {
		if item["amount"] != json.Number("-1.25") {
			t.Errorf("%v", item)
		}
		debits++
	}
	if debits != 100 {
		t.Errorf("%d debits in the history, want 100", debits)
	}
}

func TestOneKeyFiftyTimes(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	product, other := shop.product(t, "a pot", "10"), shop.product(t, "another pot", "10")
	bill := shop.bill(t, u, "100")
	var mu sync.Mutex
	fresh := 0
	bodies := atOnce(50, func() string {
		a := u.call(t, "POST", "/purchases", purchaseOf(product, bill), "Idempotency-Key", "one and only")
		mu.Lock()
		defer mu.Unlock()
		if a.header.Get("Idempotent-Replayed") == "" {
			fresh++
		}
		return a.String()
	})
	if len(bodies) != 1 || fresh != 1 {
		t.Errorf("%d fresh, answers %v; want one purchase and 50 equal answers", fresh, bodies)
	}
	if b := u.balance(t, bill); b != "90" {
		t.Errorf("balance %s, want one charge of 10", b)
	}
	u.want(t, 422, "idempotency_key_reused", "POST", "/purchases", purchaseOf(other, bill), "Idempotency-Key", "one and only")
	if n := len(pages(t, u.client, "/purchases", 100)); n != 1 {
		t.Errorf("%d purchases", n)
	}
	// Keys belong to a user: the same key of another user is a different key.
	v := shop.newUser(t)
	if a := v.want(t, 201, "", "POST", "/purchases", purchaseOf(product, shop.bill(t, v, "10")), "Idempotency-Key", "one and only"); a.header.Get("Idempotent-Replayed") != "" {
		t.Error("a key was mistaken for another user's equal key")
	}
}

func TestARepeatIsAnsweredAsTheFirst(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	product := shop.product(t, "a kettle", "30")
	bill := shop.bill(t, u, "20")
	declined := u.want(t, 402, "insufficient_funds", "POST", "/purchases", purchaseOf(product, bill), "Idempotency-Key", "kettle")
	shop.pay(t, u.id, bill, "80")
	shop.admin.want(t, 200, "", "PATCH", fmt.Sprint("/products/", product), map[string]any{"price": 40})
	again := u.want(t, 402, "insufficient_funds", "POST", "/purchases", purchaseOf(product, bill), "Idempotency-Key", "kettle")
	if again.str("balance") != "20" || again.str("price") != "30" || again.str("purchase_id") != declined.str("purchase_id") || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the replayed decline is %s", again)
	}
	bought := u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill), "Idempotency-Key", "another kettle")
	shop.admin.want(t, 204, "", "DELETE", fmt.Sprint("/products/", product), nil)
	again = u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill), "Idempotency-Key", "another kettle")
	if again.str("id") != bought.str("id") || string(again.body) != string(bought.body) || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the replay after the product was deleted: %s", again)
	}
}

func TestWhatCannotBeBought(t *testing.T) {
	t.Parallel()
	u, stranger := shop.newUser(t), shop.newUser(t)
	product, gone := shop.product(t, "a spoon", "5"), shop.product(t, "a fork", "5")
	bill, theirs := shop.bill(t, u, "100"), shop.bill(t, stranger, "100")
	shop.admin.want(t, 204, "", "DELETE", fmt.Sprint("/products/", gone), nil)

	u.want(t, 404, "product_not_found", "POST", "/purchases", purchaseOf(gone, bill))
	u.want(t, 404, "product_not_found", "POST", "/purchases", purchaseOf(1<<40, bill))
	u.want(t, 404, "bill_not_found", "POST", "/purchases", purchaseOf(product, theirs))
	u.want(t, 404, "bill_not_found", "POST", "/purchases", purchaseOf(product, 1<<40))
	changed := u.want(t, 409, "price_changed", "POST", "/purchases", map[string]any{"product_id": product, "bill_id": bill, "expected_price": 4.99})
	if changed.str("price") != "5" {
		t.Errorf("%s", changed)
	}
	for _, key := range []string{"", "caf\u00e9", strings.Repeat("k", 256)} {
		u.want(t, 400, "malformed", "POST", "/purchases", purchaseOf(product, bill), "Idempotency-Key", key)
	}
	for _, body := range []string{
		``, `{}x`, `{"product_id": "1", "bill_id": 1}`, `{"product_id": 1, "bill_id": 1, "bill_id": 2}`, `{"Product_id": 1, "bill_id": 1}`,
		`{"product_id": 1, "bill_id": 1, "more": 1}`, `{"product_id": 1.5, "bill_id": 1}`, `{"product_id": 1, "bill_id": 1, "expected_price": "5"}`,
	} {
		u.want(t, 400, "malformed", "POST", "/purchases", []byte(body))
	}
	u.want(t, 422, "invalid_amount", "POST", "/purchases", []byte(fmt.Sprintf(`{"product_id": %d, "bill_id": %d, "expected_price": 5.001}`, product, bill)))
	u.want(t, 422, "validation_failed", "POST", "/purchases", []byte(`{}`))
	if b := u.balance(t, bill); b != "100" {
		t.Errorf("balance %s, want 100: nothing charged", b)
	}
	if b := stranger.balance(t, theirs); b != "100" {
		t.Errorf("the stranger's balance is %s", b)
	}

	mine := u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill))
	stranger.want(t, 404, "purchase_not_found", "GET", "/purchases/"+mine.str("id"), nil)
	stranger.want(t, 404, "bill_not_found", "GET", fmt.Sprint("/bills/", bill), nil)
	stranger.want(t, 404, "bill_not_found", "GET", fmt.Sprint("/transactions?bill_id=", bill), nil)
	if a := u.want(t, 200, "", "GET", "/purchases/"+mine.str("id"), nil); a.str("status") != "completed" || a.str("price") != "5" || a.int("transaction_id") == 0 {
		t.Errorf("%s", a)
	}
}

// settled returns how a purchase ended: its status, decline reason or error code. It waits while the purchase is pending.
func settled(t *testing.T, u *user, a answer) string {
	t.Helper()
	switch a.status {
	case 201:
		return a.str("status")
	case 202:
		end := ""
		waittest.Eventually(t, "the purchase is settled", func() bool {
			p := u.call(t, "GET", "/purchases/"+a.str("id"), nil)
			if end = p.str("status"); end == "declined" {
				end = p.str("decline_reason")
			}
			return end != "pending"
		})
		return end
	default:
		return a.code()
	}
}

// atOnce calls do n times in parallel and counts the outcomes.
func atOnce(n int, do func() string) map[string]int {
	var mu sync.Mutex
	var all sync.WaitGroup
	outcomes := map[string]int{}
	for range n {
		all.Go(func() {
			o := do()
			mu.Lock()
			defer mu.Unlock()
			outcomes[o]++
		})
	}
	all.Wait()
	return outcomes
}

// pages reads all pages of a list.
func pages(t *testing.T, c *client, path string, limit int) []map[string]any {
	t.Helper()
	var all []map[string]any
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	for cursor := ""; ; {
		a := c.want(t, 200, "", "GET", fmt.Sprintf("%s%slimit=%d%s", path, sep, limit, cursor), nil)
		items, ok := a.get("items").([]any)
		if !ok {
			t.Fatalf("GET %s: %s", path, a)
		}
		for _, item := range items {
			all = append(all, item.(map[string]any))
		}
		if a.get("next_cursor") == nil {
			return all
		}
		cursor = "&cursor=" + a.str("next_cursor")
	}
}
