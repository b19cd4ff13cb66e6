package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"lavka/deploy/local/stack"
	"lavka/libs/testkit/waittest"
)

// TestRollingRestart restarts every replica of every service, one after another,
// under load. Users must not notice: each request is sent once, and must be answered
// as if nothing had happened.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	s := startShop(t, func(c *stack.Config) {
		c.Auth.Replicas, c.Catalog.Replicas, c.Billing.Replicas = 2, 2, 2
		c.StopTimeout = patience // a request may take 20 s on a busy machine, and must finish
	})
	product := s.product(t, "a bead", "1")
	var visitors []*visitor
	for range 16 {
		visitors = append(visitors, newVisitor(t, s, product))
	}
	shopping, leave := context.WithCancel(t.Context())
	defer leave()
	var all sync.WaitGroup
	for i, v := range visitors {
		all.Go(func() { v.visit(shopping, t, i) })
	}
	began := time.Now()
	for range 2 {
		for _, service := range stack.Services() {
			for _, r := range s.Replicas(service) {
				must(t, r.Restart(t.Context()))
			}
		}
	}
	took := time.Since(began)
	leave()
	all.Wait()

	requests, pending := 0, 0
	for _, v := range visitors {
		requests += v.requests
		pending += v.pending
		v.settleUp(t)
	}
	must(t, s.verify(t.Context()))
	t.Logf("%d requests while 12 replicas were restarted in %v; %d purchases were pending when answered", requests, took, pending)
}

// visitor is a user who buys, tops up, reads lists and logs in, and who keeps count.
type visitor struct {
	*user
	shop     *shopUnderTest
	product  int64
	bill     int64
	credited int
	bought   map[string]bool // by id
	requests int
	pending  int
}

func newVisitor(t *testing.T, s *shopUnderTest, product int64) *visitor {
	t.Helper()
	u := s.newUser(t)
	// A new connection for each request: net/http silently retries some requests
	// on reused connections.
	u.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	v := &visitor{user: u, shop: s, product: product, bill: s.bill(t, u, "1000"), credited: 1000, bought: map[string]bool{}}
	return v
}

// visit sends requests until ctx ends. Visitors with different starts send different
// requests at a time.
func (v *visitor) visit(ctx context.Context, t *testing.T, start int) {
	for i := start; ctx.Err() == nil; i++ {
		switch i % 8 {
		case 0, 4:
			v.buy(t, "")
		case 1:
			key := fmt.Sprint("key ", i)
			first := v.buy(t, key)
			if again := v.buy(t, key); again != first {
				t.Errorf("the same key returned purchase %s, then %s", first, again)
			}
		case 2:
			v.topUp(t)
		case 3:
			v.look(t, "/products", "/purchases", "/users/me")
		case 5:
			v.look(t, "/bills", fmt.Sprint("/bills/", v.bill), fmt.Sprint("/transactions?bill_id=", v.bill))
		case 6:
			v.renew(t)
		case 7:
			if i%64 == 7 { // checking a password is expensive
				v.ask(t, 200, "POST", "/auth/login", map[string]any{"login": v.login, "password": v.password})
			}
		}
	}
}

// ask sends a request and fails the test unless the status is as expected; 202 is as good as 201.
func (v *visitor) ask(t *testing.T, status int, method, path string, body any, headers ...string) answer {
	v.requests++
	began := time.Now()
	a, err := v.do(context.WithoutCancel(t.Context()), method, path, body, headers...)
	if err == nil && a.status != status && !(status == 201 && a.status == 202) {
		err = errors.New("unexpected")
	}
	if err != nil {
		t.Errorf("%s %s: %v, %s, after %v", method, path, err, a, time.Since(began))
	}
	return a
}

func (v *visitor) buy(t *testing.T, key string) (id string) {
	var headers []string
	if key != "" {
		headers = []string{"Idempotency-Key", key}
	}
	a := v.ask(t, 201, "POST", "/purchases", purchaseOf(v.product, v.bill), headers...)
	if id = a.str("id"); id == "" {
		return ""
	}
	v.bought[id] = true
	if a.status == 202 {
		v.pending++
	} else if got := v.ask(t, 200, "GET", "/purchases/"+id, nil); got.str("status") != "completed" {
		t.Errorf("a completed purchase is shown as %s", got)
	}
	return id
}

func (v *visitor) topUp(t *testing.T) {
	v.ask(t, 200, "POST", "/payment/webhook", v.shop.payment(newPayment(), v.id, v.bill, "5"))
	v.credited += 5
}

func (v *visitor) look(t *testing.T, paths ...string) {
	for _, path := range paths {
		v.ask(t, 200, "GET", path, nil)
	}
}

func (v *visitor) renew(t *testing.T) {
	a := v.ask(t, 200, "POST", "/auth/refresh", map[string]any{"refresh_token": v.refresh})
	v.token, v.refresh = a.str("access_token"), a.str("refresh_token")
}

// settleUp waits until no purchase is pending, and checks purchases and balance.
func (v *visitor) settleUp(t *testing.T) {
	t.Helper()
	waittest.Eventually(t, "nothing is pending", func() bool {
		return len(pages(t, v.client, "/purchases?status=pending", 100)) == 0
	})
	completed := pages(t, v.client, "/purchases?status=completed", 100)
	for _, p := range completed {
		if id := fmt.Sprint(p["id"]); !v.bought[id] {
			t.Errorf("purchase %s completed, but its client was never given its id", id)
		}
	}
	if len(completed) != len(v.bought) {
		t.Errorf("%d purchases are completed, but %d were made", len(completed), len(v.bought))
	}
	if got, want := v.balance(t, v.bill), strconv.Itoa(v.credited-len(v.bought)); got != want {
		t.Errorf("the balance is %s, want %s", got, want)
	}
}
