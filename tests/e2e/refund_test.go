package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lavka/deploy/local/stack"
	"lavka/libs/testkit/waittest"
)

func refundOf(amount string) map[string]any {
	body := map[string]any{"reason": "A dent"}
	if amount != "" {
		body["amount"] = json.Number(amount)
	}
	return body
}

// Two hundred refunds at once of one purchase: together they give back what it cost,
// and no more.
func TestTwoHundredRefundsAtOnce(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	bill, product := shop.bill(t, u, "1000"), shop.product(t, "a piano", "900")
	bought := u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill))
	path := "/purchases/" + bought.str("id") + "/refunds"
	var n, refunded atomic.Int64
	outcomes := atOnce(200, func() string {
		i := n.Add(1)
		amount := 11 + i%13
		key := fmt.Sprint("refund-", i)
		for {
			a := shop.admin.call(t, "POST", path, refundOf(fmt.Sprint(amount)), "Idempotency-Key", key)
			if a.status == 503 || a.status == 202 { // the same key finds the outcome
				continue
			}
			if a.status == 201 {
				refunded.Add(amount)
				return "refunded"
			}
			return a.code()
		}
	})
	if outcomes["refunded"]+outcomes["refund_exceeds"]+outcomes["too_many_refunds"] != 200 || refunded.Load() > 900 || refunded.Load() < 900-24 {
		t.Errorf("%v, %d refunded in all", outcomes, refunded.Load())
	}
	if b := u.balance(t, bill); b != fmt.Sprint(100+refunded.Load()) {
		t.Errorf("the balance is %s after %d were refunded of 900, and 100 were left", b, refunded.Load())
	}
	if a := u.want(t, 200, "", "GET", "/purchases/"+bought.str("id"), nil); a.str("refunded") != fmt.Sprint(refunded.Load()) || a.str("status") != "completed" {
		t.Errorf("%s", a)
	}
	if list := pages(t, u.client, path, 20); len(list) != outcomes["refunded"] {
		t.Errorf("the buyer sees %d refunds, want %d", len(list), outcomes["refunded"])
	}
	sum := 0.0
	for _, item := range pages(t, u.client, "/transactions?type=refund", 100) {
		if item["refund_id"] == nil || item["type"] != "refund" {
			t.Errorf("%v", item)
		}
		sum += number(t, item["amount"])
	}
	if sum != float64(refunded.Load()) {
		t.Errorf("the ledger has credits of %v", sum)
	}
}

// The money goes to the bill that paid, also of a disabled buyer; not to a bill that
// owes, unless an admin insists.
func TestRefundsThroughTheGateway(t *testing.T) {
	t.Parallel()
	began := time.Now().Add(-time.Second)
	u := shop.newUser(t)
	paid, product := newPayment(), shop.product(t, "a harp", "60")
	bill := paid // a new one
	gateway := &client{base: shop.GatewayURL()}
	waittest.Eventually(t, "the payment", func() bool {
		return gateway.call(t, "POST", "/payment/webhook", shop.payment(paid, u.id, bill, "100")).status == 200
	})
	bought := u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill))
	path := "/purchases/" + bought.str("id") + "/refunds"
	u.want(t, 403, "forbidden", "POST", path, refundOf("1"), "Idempotency-Key", "mine")
	shop.newUser(t).want(t, 404, "purchase_not_found", "GET", path, nil)
	shop.admin.want(t, 409, "refund_exceeds", "POST", path, refundOf("60.01"), "Idempotency-Key", "one")
	shop.disable(t, u)
	first := shop.admin.want(t, 201, "", "POST", path, refundOf("10"), "Idempotency-Key", "one")
	again := shop.admin.want(t, 201, "", "POST", path, refundOf("10"), "Idempotency-Key", "one")
	if again.str("id") != first.str("id") || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("%s, at first %s", again, first)
	}
	shop.admin.want(t, 422, "idempotency_key_reused", "POST", path, refundOf("11"), "Idempotency-Key", "one")

	body, signed := shop.reversal(t, paid, paid, "100") // 50 are there
	gateway.want(t, 200, "", "POST", "/payment/reversals", body, signed...)
	for range 2 {
		a := shop.admin.want(t, 409, "bill_owes", "POST", path, refundOf("20"), "Idempotency-Key", "two")
		if a.str("refund_id") == "" {
			t.Errorf("%s", a)
		}
	}
	forced := refundOf("")
	forced["force"] = true
	if a := shop.admin.want(t, 201, "", "POST", path, forced, "Idempotency-Key", "three"); a.str("amount") != "50" || a.int("bill_id") != bill {
		t.Errorf("%s", a)
	}
	if a := shop.admin.want(t, 409, "refund_exceeds", "POST", path, refundOf("0.01"), "Idempotency-Key", "four"); a.str("refundable") != "0" {
		t.Errorf("%s", a)
	}
	if list := pages(t, shop.admin, path, 1); len(list) != 3 || list[0]["force"] != true || list[1]["decline_reason"] != "bill_owes" || list[2]["amount"] != json.Number("10") {
		t.Errorf("%v", list)
	}
	pages(t, shop.admin, "/admin/refunds?status=pending", 100)

	// All of them, beside those of other tests.
	window := "/admin/refunds?" + url.Values{"from": {began.Format(time.RFC3339Nano)}, "to": {began.Add(time.Hour).Format(time.RFC3339Nano)}}.Encode()
	listed := 0
	for _, r := range pages(t, shop.admin, window, 100) {
		if r["bill_id"] == json.Number(fmt.Sprint(bill)) {
			listed++
		}
	}
	exported := string(shop.admin.want(t, 200, "", "GET", window, nil, "Accept", "text/csv").body)
	if of := strings.Count(exported, fmt.Sprintf(",%d,%d,", u.id, bill)); listed != 3 || of != 3 || !strings.HasPrefix(exported, "id,purchase_id,user_id,bill_id,amount,") || !strings.Contains(exported, "\n#end,") {
		t.Errorf("%d refunds are listed, and %d are exported:\n%s", listed, of, exported)
	}
	lines := strings.Split(strings.TrimSpace(string(shop.admin.want(t, 200, "", "GET", "/admin/refunds?status=pending", nil, "Accept", "application/x-ndjson").body)), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, `{"end":true,"items":`) {
		t.Errorf("%s", last)
	}
	for _, query := range []string{"status=completed", "status=pending&user_id=1", fmt.Sprint("bill_id=", bill)} {
		shop.admin.want(t, 422, "unsupported_filter", "GET", "/admin/refunds?"+query, nil)
	}
}

// What is asked while billing, NATS or Postgres is down is refunded once when it is
// back, and an admin sees what is pending.
func TestRefundsDuringOutages(t *testing.T) {
	t.Parallel()
	s := startShop(t, func(c *stack.Config) {
		c.Volatile = false
		c.Catalog.Env = map[string]string{"PURCHASE_WAIT": "500ms"}
	})
	u := s.newUser(t)
	bill, product := s.bill(t, u, "100"), s.product(t, "a drum", "90")
	bought := u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill))
	path := "/purchases/" + bought.str("id") + "/refunds"
	until := func(what, key, amount string) {
		t.Helper()
		waittest.Eventually(t, what, func() bool {
			a := s.admin.call(t, "POST", path, refundOf(amount), "Idempotency-Key", key)
			return a.status == 201
		})
	}

	must(t, s.Replicas(stack.Billing)[0].Crash())
	s.admin.want(t, 202, "", "POST", path, refundOf("10"), "Idempotency-Key", "billing")
	if list := pages(t, s.admin, "/admin/refunds?status=pending", 1); len(list) != 1 || list[0]["amount"] != json.Number("10") {
		t.Errorf("%v", list)
	}
	s.admin.want(t, 409, "refund_exceeds", "POST", path, refundOf("80.01"), "Idempotency-Key", "too much")
	must(t, s.Replicas(stack.Billing)[0].Start(t.Context()))
	waittest.Eventually(t, "the sweeper retries", func() bool {
		return u.call(t, "GET", "/purchases/"+bought.str("id"), nil).str("refunded") == "10"
	})

	s.NATS().Stop()
	s.admin.want(t, 202, "", "POST", path, refundOf("20"), "Idempotency-Key", "nats")
	must(t, s.NATS().Wipe())
	must(t, s.NATS().Start())
	until("NATS is back", "nats", "20")

	must(t, s.Postgres().Crash())
	// Catalog tries again for some seconds, in which the server may have been restarted.
	if a := s.admin.call(t, "POST", path, refundOf("30"), "Idempotency-Key", "postgres"); a.status != 202 && a.code() != "outcome_unknown" || a.header.Get("Retry-After") == "" {
		t.Errorf("while the database is down: %s", a)
	}
	must(t, s.Postgres().Start(t.Context()))
	until("Postgres is back", "postgres", "30")
	if b := u.balance(t, bill); b != "70" {
		t.Errorf("the balance is %s, want 10 and the refunds of 10, 20 and 30", b)
	}
	// Answers are written without waiting for the disk: the crash may have lost some, and billing repeats them.
	waittest.Eventually(t, "none is pending", func() bool { return len(pages(t, s.admin, "/admin/refunds?status=pending", 1)) == 0 })
	must(t, s.verify(t.Context()))
}
