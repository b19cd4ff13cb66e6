package e2e

import (
	"encoding/json"
	"fmt"
	"testing"

	"lavka/deploy/local/stack"
	"lavka/libs/testkit/waittest"
)

// stocked puts a product with limited stock on sale.
func (s *shopUnderTest) stocked(t *testing.T, price string, stock int) int64 {
	t.Helper()
	a := s.admin.want(t, 201, "", "POST", "/products", map[string]any{"title": "samovar", "description": "", "price": json.Number(price), "stock": stock})
	return int64(number(t, json.Number(a.str("id"))))
}

func (s *shopUnderTest) verifyCatalog(t *testing.T) {
	t.Helper()
	must(t, s.verify(t.Context()))
	if out, err := s.Command(t.Context(), stack.Catalog, "verify").CombinedOutput(); err != nil {
		t.Errorf("catalog verify: %v: %s", err, out)
	}
}

func several(product, bill int64, quantity int) map[string]any {
	body := purchaseOf(product, bill)
	body["quantity"] = quantity
	return body
}

// Five hundred orders at once for a hundred pieces, through two replicas: a hundred are
// sold, each is paid once, and nothing is left.
func TestAHundredPiecesAreSoldOnce(t *testing.T) {
	t.Parallel()
	s := startShop(t, func(c *stack.Config) {
		c.Catalog.Replicas, c.Billing.Replicas = 2, 2
		c.Env = map[string]string{"STOCK_PENDING_MAX": "1000"} // few users stand for many
	})
	const orders, pieces = 500, 100
	product := s.stocked(t, "3", pieces)
	var buyers []*user
	var bills []int64
	for range 5 {
		u := s.newUser(t)
		buyers, bills = append(buyers, u), append(bills, s.bill(t, u, "1000"))
	}
	next := make(chan int, orders)
	for i := range orders {
		next <- i
	}
	outcomes := atOnce(orders, func() string {
		i := <-next
		u, bill := buyers[i%5], bills[i%5]
		for {
			a := u.call(t, "POST", "/purchases", purchaseOf(product, bill), "Idempotency-Key", fmt.Sprint("k", i))
			if a.status == 503 || a.status == 202 { // the same key finds the outcome
				continue
			}
			if a.status == 201 {
				return "sold"
			}
			return a.code()
		}
	})
	if outcomes["sold"] != pieces || outcomes["out_of_stock"] != orders-pieces {
		t.Errorf("%v", outcomes)
	}
	spent := 0.0
	for i, u := range buyers {
		spent += 1000 - number(t, json.Number(u.balance(t, bills[i])))
	}
	if spent != 3*pieces {
		t.Errorf("%v were charged for %d at 3", spent, pieces)
	}
	if a := s.admin.want(t, 200, "", "GET", fmt.Sprintf("/products/%d/stock", product), nil); a.str("on_hand") != "0" {
		t.Errorf("%s", a)
	}
	s.verifyCatalog(t)
}

// What is declined goes back into stock, and so does what a refund restocks.
func TestStockComesBack(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	bill, product := shop.bill(t, u, "100"), shop.stocked(t, "30", 5)
	path := fmt.Sprintf("/products/%d/stock", product)
	left := func(want string) {
		t.Helper()
		waittest.Eventually(t, want+" are in stock", func() bool { return shop.admin.call(t, "GET", path, nil).str("on_hand") == want })
	}
	bought := u.want(t, 201, "", "POST", "/purchases", several(product, bill, 3))
	if bought.str("amount") != "90" || u.balance(t, bill) != "10" {
		t.Errorf("%s", bought)
	}
	left("2")
	u.want(t, 402, "insufficient_funds", "POST", "/purchases", several(product, bill, 2))
	left("2")
	u.want(t, 409, "out_of_stock", "POST", "/purchases", several(product, bill, 4))
	refund := refundOf("60")
	refund["restock"] = 2
	shop.admin.want(t, 201, "", "POST", "/purchases/"+bought.str("id")+"/refunds", refund, "Idempotency-Key", "back")
	left("4")
	if b := u.balance(t, bill); b != "70" {
		t.Errorf("the balance is %s", b)
	}
	shop.verifyCatalog(t)
}

// An admin counts a delivery once, however often it is sent, and lifts the limit.
func TestAnAdminChangesStock(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	bill, product := shop.bill(t, u, "100"), shop.product(t, "a drum", "30")
	path := fmt.Sprintf("/products/%d/stock", product)
	change := func(n int) map[string]any { return map[string]any{"change": n, "reason": "a delivery"} }
	shop.admin.want(t, 400, "malformed", "POST", path, change(2))
	for i, replayed := range []string{"", "true"} {
		a := shop.admin.want(t, 201, "", "POST", path, change(2), "Idempotency-Key", "delivery")
		if a.int("on_hand") != 2 || a.header.Get("Idempotent-Replayed") != replayed {
			t.Errorf("%d: %s", i, a)
		}
	}
	shop.admin.want(t, 422, "idempotency_key_reused", "POST", path, change(3), "Idempotency-Key", "delivery")
	u.want(t, 403, "forbidden", "POST", path, change(1), "Idempotency-Key", "mine")
	u.want(t, 201, "", "POST", "/purchases", several(product, bill, 2))
	u.want(t, 409, "out_of_stock", "POST", "/purchases", several(product, bill, 1))
	shop.admin.want(t, 204, "", "DELETE", path, nil)
	u.want(t, 201, "", "POST", "/purchases", several(product, bill, 1))
	shop.verifyCatalog(t)
}
