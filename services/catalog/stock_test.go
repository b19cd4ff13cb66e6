package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lavka/libs/contract/wire"
	"lavka/libs/testkit/waittest"
)

// shelfOpen waits until a replica has noticed.
func (r *replica) shelfOpen(t *testing.T) *replica {
	t.Helper()
	waittest.Eventually(t, "the replica sees that the shelf is open", func() bool {
		return r.send(t, r.token(t, 1, "admin"), "DELETE", "/products/1/stock", "").code() != "not_open_yet"
	})
	return r
}

// limited puts a product on sale with this many units in stock, and returns its id.
func (r *replica) limited(t *testing.T, price string, stock int) int64 {
	t.Helper()
	a := r.send(t, r.token(t, 1, "admin"), "POST", "/products", fmt.Sprintf(`{"title":"samovar","description":"","price":%s,"stock":%d}`, price, stock))
	if a.status != http.StatusCreated || a.body["in_stock"] != (stock > 0) {
		t.Fatalf("create product: %s", a)
	}
	return int64(a.body["id"].(float64))
}

func (r *replica) stock(t *testing.T, product int64) any {
	t.Helper()
	a := r.send(t, r.token(t, 1, "support"), "GET", fmt.Sprintf("/products/%d/stock", product), "")
	if a.status != http.StatusOK {
		t.Fatalf("stock: %s", a)
	}
	return a.body["on_hand"]
}

func units(product int64, quantity any) string {
	return fmt.Sprintf(`{"product_id":%d,"bill_id":7,"quantity":%v}`, product, quantity)
}

func verified(t *testing.T, s *shop) {
	t.Helper()
	if out, err := runCommand(t, s.settings(t), "verify"); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

func TestQuantity(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.openShelf(t)
	b := newBilling(t, s, settled)
	r := s.start(t, nil).shelfOpen(t)
	tea, palace := r.product(t, "tea", "3.50"), r.product(t, "palace", "70000000000.01")
	ann := s.token(t, 2, "user")
	a := r.send(t, ann, "POST", "/purchases", units(tea, 3), "Idempotency-Key", "k")
	if a.status != 201 || a.body["quantity"] != 3.0 || !strings.Contains(a.text, `"price":3.50,`) || !strings.Contains(a.text, `"amount":10.50,`) {
		t.Errorf("%s", a)
	}
	if got := b.received()[0].Amount; got != 1050 {
		t.Errorf("billing was asked for %d", got)
	}
	if one := r.send(t, ann, "POST", "/purchases", order(tea, 7)); one.status != 201 || one.body["quantity"] != 1.0 || one.body["amount"] != 3.5 {
		t.Errorf("one: %s", one)
	}
	for body, want := range map[string]string{
		units(tea, 3): "", units(tea, 2): "idempotency_key_reused", order(tea, 7): "idempotency_key_reused",
	} {
		again := r.send(t, ann, "POST", "/purchases", body, "Idempotency-Key", "k")
		if want == "" && (again.status != 201 || again.body["id"] != a.body["id"]) || want != "" && (again.status != 422 || again.code() != want) {
			t.Errorf("%s with the key: %s", body, again)
		}
	}
	for _, quantity := range []any{0, -1, 1001, 1 << 40, "1.5", `"2"`} {
		if bad := r.send(t, ann, "POST", "/purchases", units(tea, quantity)); bad.status != 422 && bad.status != 400 || !strings.Contains(bad.text, "quantity") {
			t.Errorf("quantity %v: %s", quantity, bad)
		}
	}
	if dear := r.send(t, ann, "POST", "/purchases", units(palace, 1000)); dear.status != 422 || dear.code() != "validation_failed" || !strings.Contains(dear.text, "is too high for the price") {
		t.Errorf("an amount above the maximum: %s", dear)
	}
	b.decides(declined("insufficient_funds", new(int64(120))))
	if poor := r.send(t, ann, "POST", "/purchases", units(tea, 4)); poor.status != 402 || poor.body["price"] != 3.5 || poor.body["amount"] != 14.0 || poor.body["balance"] != 1.2 {
		t.Errorf("declined: %s", poor)
	}
	export := r.raw(t, ann, "/purchases", "text/csv")
	if !strings.Contains(export, "price,quantity,amount,bill_id") || !strings.Contains(export, ",3.50,3,10.50,7,completed") {
		t.Errorf("the export is %s", export)
	}
	sales := r.send(t, s.token(t, 1, "admin"), "GET", "/admin/purchases?user_id=2", "")
	if !strings.Contains(sales.text, `"quantity":3,"status"`) && !strings.Contains(sales.text, `"quantity":3`) || !strings.Contains(sales.text, `"amount":10.50`) {
		t.Errorf("for admins: %s", sales)
	}
}

// raw gets a response that is not JSON.
func (r *replica) raw(t *testing.T, bearer, path, accept string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", r.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestStockOfAProduct(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.openShelf(t)
	newBilling(t, s, settled)
	r := s.start(t, nil).shelfOpen(t)
	tea := r.product(t, "tea", "3.50")
	path := fmt.Sprintf("/products/%d", tea)
	admin, ann := s.token(t, 1, "admin"), s.token(t, 2, "user")
	change := func(key, body string) answer {
		return r.send(t, admin, "POST", path+"/stock", body, "Idempotency-Key", key)
	}

	if a := r.send(t, admin, "GET", path+"/stock", ""); a.status != 200 || a.body["limited"] != false || a.body["on_hand"] != nil {
		t.Errorf("without a limit: %s", a)
	}
	first := change("a", `{"change":2,"reason":"a delivery"}`)
	if first.status != 201 || first.body["on_hand"] != 2.0 || first.body["changed_by"] != 1.0 || first.header.Get("Location") != path+"/stock" {
		t.Errorf("the limit: %s", first)
	}
	if again := change("a", `{"change":2,"reason":"a delivery"}`); again.status != 201 || again.text != first.text || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("again: %s", again)
	}
	for body, want := range map[string]string{
		`{"change":3,"reason":"a delivery"}`:          "idempotency_key_reused",
		`{"change":1000000001,"reason":"a delivery"}`: "validation_failed",
		`{"change":1,"reason":" "}`:                   "validation_failed",
		`{"change":1}`:                                "validation_failed",
		`{"reason":"x"}`:                              "validation_failed",
	} {
		if a := change("a", body); a.status != 422 || a.code() != want {
			t.Errorf("%s: %s", body, a)
		}
	}
	if a := change("b", `{"change":-3,"reason":"lost"}`); a.status != 409 || a.code() != "stock_out_of_range" || a.body["on_hand"] != 2.0 {
		t.Errorf("below zero: %s", a)
	}
	if a := r.send(t, admin, "POST", path+"/stock", `{"change":1,"reason":"x"}`); a.status != 400 || !strings.Contains(a.text, "Idempotency-Key") {
		t.Errorf("without a key: %s", a)
	}
	if a := r.send(t, admin, "POST", "/products/999/stock", `{"change":1,"reason":"x"}`, "Idempotency-Key", "k"); a.status != 404 || a.code() != "product_not_found" {
		t.Errorf("of no product: %s", a)
	}
	if a := r.send(t, admin, "POST", "/products", `{"title":"x","description":"","price":1,"stock":-1}`); a.status != 422 || !strings.Contains(a.text, `"stock"`) {
		t.Errorf("a product with less than nothing: %s", a)
	}

	seen := r.send(t, ann, "GET", path, "")
	if seen.body["in_stock"] != true {
		t.Errorf("%s", seen)
	}
	if a := r.send(t, ann, "POST", "/purchases", units(tea, 2), "Idempotency-Key", "k"); a.status != 201 {
		t.Errorf("bought: %s", a)
	}
	if a := r.send(t, ann, "GET", path, ""); a.body["in_stock"] != false || a.header.Get("ETag") != seen.header.Get("ETag") {
		t.Errorf("sold out: %s", a)
	}
	if a := r.send(t, ann, "POST", "/purchases", order(tea, 7), "Idempotency-Key", "l"); a.status != 409 || a.code() != "out_of_stock" {
		t.Errorf("sold out: %s", a)
	}
	if a := r.send(t, admin, "DELETE", path+"/stock", ""); a.status != 204 {
		t.Errorf("the limit is lifted: %s", a)
	}
	if a := r.send(t, ann, "POST", "/purchases", order(tea, 7), "Idempotency-Key", "l"); a.status != 201 {
		t.Errorf("without a limit, with the key that was not used up: %s", a)
	}
	log := r.send(t, admin, "GET", "/catalog/log?subject=product/"+fmt.Sprint(tea), "")
	for _, want := range []string{`"action":"stock.change"`, `"after":{"on_hand":2,"reason":"a delivery"}`, `"action":"stock.lift"`} {
		if !strings.Contains(log.text, want) {
			t.Errorf("the admins' log lacks %s: %s", want, log)
		}
	}
	verified(t, s)
}

// While replicas of the release before may be running, nothing is written that they do
// not understand.
func TestTheShelfIsClosedAtFirst(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.open(t) // level 1: refunds
	newBilling(t, s, settled)
	r := s.start(t, nil)
	tea := r.product(t, "tea", "3.50")
	bought := r.send(t, s.token(t, 7, "user"), "POST", "/purchases", units(tea, 1))
	if bought.status != 201 {
		t.Fatalf("one unit: %s", bought)
	}
	admin := s.token(t, 1, "admin")
	for name, a := range map[string]answer{
		"two units":              r.send(t, s.token(t, 7, "user"), "POST", "/purchases", units(tea, 2)),
		"a limit":                r.send(t, admin, "POST", fmt.Sprintf("/products/%d/stock", tea), `{"change":1,"reason":"x"}`, "Idempotency-Key", "k"),
		"no limit":               r.send(t, admin, "DELETE", fmt.Sprintf("/products/%d/stock", tea), ""),
		"a product with stock":   r.send(t, admin, "POST", "/products", `{"title":"x","description":"","price":1,"stock":1}`),
		"a refund that restocks": r.refund(t, bought.body["id"].(string), "k", `{"reason":"x","restock":1}`),
	} {
		if a.status != 503 || a.code() != "not_open_yet" || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %s", name, a)
		}
	}
	if a := r.send(t, admin, "GET", fmt.Sprintf("/products/%d/stock", tea), ""); a.status != 200 {
		t.Errorf("reading: %s", a)
	}
	if n := s.number(t, `SELECT (SELECT count(*) FROM catalog.stock) + (SELECT count(*) FROM catalog.stock_changes) + (SELECT count(*) FROM catalog.products) - 1`); n != 0 {
		t.Errorf("%d rows were written", n)
	}
}

// 500 buyers at once, through two replicas, for 100 pieces: 100 are sold.
func TestFiveHundredBuyersOfAHundredPieces(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.openShelf(t)
	const buyers, pieces = 500, 100
	newBilling(t, s, settled)
	replicas := []*replica{s.start(t, nil).shelfOpen(t), s.start(t, nil).shelfOpen(t)}
	samovar := replicas[0].limited(t, "10", pieces)
	var mu sync.Mutex
	got := map[string]int{}
	var all sync.WaitGroup
	for i := range buyers {
		token := s.token(t, int64(10+i), "user")
		all.Go(func() {
			var a answer
			for try := 0; ; try++ { // as long as nothing is known: two replicas take turns
				var err error
				if a, err = replicas[(i+try)%2].trySend(t.Context(), token, "POST", "/purchases", order(samovar, 7), "Idempotency-Key", "k"); err != nil {
					t.Error(err)
					return
				}
				if a.status != 503 && a.status != 202 {
					break
				}
			}
			mu.Lock()
			defer mu.Unlock()
			got[fmt.Sprintf("%d %v", a.status, a.code())]++
		})
	}
	all.Wait()
	if got["201 <nil>"] != pieces || got["409 out_of_stock"] != buyers-pieces {
		t.Errorf("%v", got)
	}
	if n := s.number(t, `SELECT count(*) FROM catalog.purchases WHERE status = 'completed' AND stock_taken = 1`); n != pieces {
		t.Errorf("%d sold, want %d", n, pieces)
	}
	if n := replicas[1].stock(t, samovar); n != 0.0 {
		t.Errorf("%v in stock", n)
	}
	verified(t, s)
}

// Declines, expiries among them, give back what they took, once, however often billing
// answers, and the next buyers get it.
func TestDeclinesGiveBackOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.openShelf(t)
	b := newBilling(t, s, func(m wire.PurchaseRequested) *wire.PurchaseAnswered {
		switch m.UserID % 3 {
		case 0:
			return &wire.PurchaseAnswered{Outcome: wire.Declined, Reason: "expired"}
		case 1:
			return &wire.PurchaseAnswered{Outcome: wire.Declined, Reason: "insufficient_funds", Balance: new(int64(5))}
		default:
			return settled(m)
		}
	})
	replicas := []*replica{s.start(t, nil).shelfOpen(t), s.start(t, nil).shelfOpen(t)}
	samovar := replicas[0].limited(t, "10", 1000)
	const buyers = 90
	var all sync.WaitGroup
	for i := range buyers {
		token := s.token(t, int64(30+i), "user")
		all.Go(func() {
			if a, err := replicas[i%2].trySend(t.Context(), token, "POST", "/purchases", units(samovar, 1+i%4)); err != nil || a.status >= 500 {
				t.Errorf("%s, %v", a, err)
			}
		})
	}
	all.Wait()
	for range 2 {
		for _, m := range b.received() {
			b.answer(t, m.header.Get(wire.HeaderReply), about(m.PurchaseID, b.decide(m.PurchaseRequested)))
		}
	}
	sold := s.number(t, `SELECT sum(stock_taken) FROM catalog.purchases WHERE status = 'completed'`)
	if n := s.number(t, `SELECT count(*) FROM catalog.purchases WHERE status <> 'completed' AND stock_taken > 0`); n != buyers*2/3 {
		t.Errorf("%d declined", n)
	}
	waittest.Eventually(t, "what was declined is back in stock", func() bool { return replicas[0].stock(t, samovar) == float64(1000-sold) })
	verified(t, s)
}

func TestUnitsHeldByOneUserAreLimited(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.openShelf(t)
	newBilling(t, s, silent)
	r := s.start(t, func(c *Config) { c.PurchaseWait = 10 * time.Millisecond; c.StockPendingMax = 3 }).shelfOpen(t)
	samovar := r.limited(t, "10", 100)
	ann := s.token(t, 2, "user")
	for i, want := range []int{202, 202, 429} {
		a := r.send(t, ann, "POST", "/purchases", units(samovar, 1+i), "Idempotency-Key", fmt.Sprint(i))
		if a.status != want || want == 429 && (a.code() != "pending_limit" || a.header.Get("Retry-After") == "") {
			t.Errorf("%d: %s, want %d", i, a, want)
		}
	}
	if a := r.send(t, s.token(t, 3, "user"), "POST", "/purchases", units(samovar, 90)); a.status != 202 {
		t.Errorf("a single order of many: %s", a)
	}
}

func TestARefundPutsBack(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.openShelf(t)
	newBilling(t, s, settled)
	r := s.start(t, nil).shelfOpen(t)
	samovar := r.limited(t, "10", 5)
	bought := r.send(t, s.token(t, 7, "user"), "POST", "/purchases", units(samovar, 4))
	if bought.status != 201 {
		t.Fatalf("%s", bought)
	}
	id := bought.body["id"].(string)
	for i, c := range []struct {
		body   string
		status int
		code   any
		onHand float64
	}{
		{`{"amount":10,"reason":"x","restock":5}`, 409, "restock_exceeds", 1},
		{`{"amount":10,"reason":"x","restock":-1}`, 422, "validation_failed", 1},
		{`{"amount":10,"reason":"x","restock":3}`, 201, nil, 4},
		{`{"amount":10,"reason":"x"}`, 201, nil, 4},
		{`{"amount":5,"reason":"x","restock":2}`, 409, "restock_exceeds", 4},
		{`{"amount":5,"reason":"x","restock":1}`, 201, nil, 5},
		{`{"reason":"x"}`, 201, nil, 5},
	} {
		a := r.refund(t, id, fmt.Sprint(i), c.body)
		if a.status != c.status || a.code() != c.code {
			t.Errorf("%d: %s", i, a)
		}
		if n := r.stock(t, samovar); n != c.onHand {
			t.Errorf("%d: %v in stock, want %v", i, n, c.onHand)
		}
	}
	if a := r.refund(t, id, "2", `{"amount":10,"reason":"x","restock":3}`); a.status != 201 || a.header.Get("Idempotent-Replayed") != "true" || a.body["restock"] != 3.0 || r.stock(t, samovar) != 5.0 {
		t.Errorf("a repeat: %s", a)
	}
	if a := r.refund(t, id, "2", `{"amount":10,"reason":"x","restock":2}`); a.code() != "idempotency_key_reused" {
		t.Errorf("a repeat with another restock: %s", a)
	}
	verified(t, s)
}
