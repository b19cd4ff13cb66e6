package e2e

import (
	"testing"

	"lavka/deploy/local/stack"
	"lavka/libs/testkit/waittest"
)

// Billing is down for longer than a purchase may wait: the purchase must expire, and
// must never be charged.
func TestAPurchaseExpires(t *testing.T) {
	t.Parallel()
	s := startShop(t, func(c *stack.Config) {
		c.Catalog.Env = map[string]string{"PURCHASE_WAIT": "500ms", "PURCHASE_EXPIRY": "1s"}
	})
	u := s.newUser(t)
	bill, product := s.bill(t, u, "10"), s.product(t, "a candle", "3")
	must(t, s.Replicas(stack.Billing)[0].Crash())
	a := u.want(t, 202, "", "POST", "/purchases", purchaseOf(product, bill), "Idempotency-Key", "candle")
	ask := s.database(t, stack.Catalog)
	waittest.Eventually(t, "the purchase's expiry has passed", func() bool {
		return ask(`SELECT expires_at < now() FROM catalog.purchases WHERE id = $1`, a.str("id")) == true
	})
	must(t, s.Replicas(stack.Billing)[0].Start(t.Context()))
	if end := settled(t, u, a); end != "expired" {
		t.Errorf("the purchase ended as %s", end)
	}
	again := u.want(t, 409, "purchase_expired", "POST", "/purchases", purchaseOf(product, bill), "Idempotency-Key", "candle")
	if again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("%v", again.header)
	}
	if b := u.balance(t, bill); b != "10" {
		t.Errorf("balance %s", b)
	}
	must(t, s.verify(t.Context()))
}

// The whole NATS store is deleted while purchases and user changes are in flight:
// nothing is lost and nothing is charged twice.
func TestNATSLosesItsStore(t *testing.T) {
	t.Parallel()
	s := startShop(t, func(c *stack.Config) { c.Catalog.Env = map[string]string{"PURCHASE_WAIT": "500ms"} })
	u := s.newUser(t)
	bill, product := s.bill(t, u, "100"), s.product(t, "a match", "1")
	u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill))

	s.NATS().Stop()
	var pending []answer
	for range 10 {
		pending = append(pending, u.want(t, 202, "", "POST", "/purchases", purchaseOf(product, bill)))
	}
	late := s.newUser(t) // billing does not know this user yet
	must(t, s.NATS().Wipe())
	must(t, s.NATS().Start())
	for _, a := range pending {
		if end := settled(t, u, a); end != "completed" {
			t.Errorf("the purchase ended as %s", end)
		}
	}
	if b := u.balance(t, bill); b != "89" {
		t.Errorf("balance %s", b)
	}
	s.pay(t, late.id, 77, "5") // as soon as auth has republished its users
	s.disable(t, u)
	must(t, s.verify(t.Context()))
}

// Postgres crashes and comes back.
func TestPostgresCrashes(t *testing.T) {
	t.Parallel()
	s := startShop(t, func(c *stack.Config) { c.Volatile = false })
	u := s.newUser(t)
	bill, product := s.bill(t, u, "100"), s.product(t, "a nail", "1")
	must(t, s.Postgres().Crash())
	a := u.call(t, "POST", "/purchases", purchaseOf(product, bill), "Idempotency-Key", "nail")
	if a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("while the database is down: %s %v", a, a.header)
	}
	if a := u.call(t, "GET", "/bills", nil); a.status != 503 || a.code() != "unavailable" {
		t.Errorf("while the database is down: %s", a)
	}
	must(t, s.Postgres().Start(t.Context()))
	waittest.Eventually(t, "the purchase goes through", func() bool {
		return u.call(t, "POST", "/purchases", purchaseOf(product, bill), "Idempotency-Key", "nail").status == 201
	})
	if b := u.balance(t, bill); b != "99" {
		t.Errorf("balance %s", b)
	}
	must(t, s.verify(t.Context()))
}
