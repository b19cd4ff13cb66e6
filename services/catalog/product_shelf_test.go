package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"lavka/libs/service/opened"
	"lavka/libs/testkit/waittest"
)

// openShelf opens the gate for statuses other than active, and waits until the replicas
// have seen it.
func (s *shop) openShelf(t *testing.T, replicas ...*replica) {
	t.Helper()
	if _, err := s.owner.Exec(t.Context(), `UPDATE catalog.opened SET level = $1`, opened.Shelf); err != nil {
		t.Fatal(err)
	}
	for _, r := range replicas {
		waittest.Eventually(t, "the replica sees the gate open", func() bool {
			return strings.Contains(r.metrics(t), fmt.Sprintf("schema_opened_level %d\n", opened.Shelf))
		})
	}
}

func (a answer) titles() string {
	var all []string
	for _, item := range a.body["items"].([]any) {
		all = append(all, item.(map[string]any)["title"].(string))
	}
	return strings.Join(all, " ")
}

// What is not active is there for admins and support only, and is not sold.
func TestStatusOfProducts(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	newBilling(t, s, settled)
	r := s.start(t, nil)
	admin, support, ann := s.token(t, 1, "admin"), s.token(t, 3, "support"), s.token(t, 2, "user")
	tea := fmt.Sprint("/products/", r.product(t, "tea", "1"))

	// While replicas of the release before may sell it, a product stays active.
	for _, a := range []answer{
		r.send(t, admin, "PATCH", tea, `{"status":"archived"}`), r.send(t, admin, "POST", "/products", `{"title":"x","description":"","price":1,"status":"draft"}`),
		r.send(t, admin, "PUT", "/products/by-sku/x", `{"title":"x","description":"","price":1,"status":"draft"}`),
	} {
		if a.status != 503 || a.code() != "not_open_yet" || a.header.Get("Retry-After") == "" {
			t.Errorf("the gate is closed: %s", a)
		}
	}
	if a := r.send(t, admin, "PATCH", tea, `{"status":"active","sku":"TEA"}`); a.status != 200 || a.body["status"] != "active" {
		t.Errorf("active needs no gate: %s", a)
	}
	s.openShelf(t, r)
	for _, a := range []answer{r.send(t, admin, "POST", "/products", `{"title":"draft","description":"","price":2,"status":"draft","sku":"D"}`), r.send(t, admin, "PATCH", fmt.Sprint("/products/", r.product(t, "archived", "3")), `{"status":"archived","sku":"A"}`)} {
		path := fmt.Sprint("/products/", a.body["id"])
		if a.status/100 != 2 || a.body["status"] == "active" {
			t.Fatalf("the gate is open: %s", a)
		}
		for _, path := range []string{path, fmt.Sprint("/products/by-sku/", a.body["sku"])} {
			for name, bearer := range map[string]string{"admin": admin, "support": support} {
				if got := r.send(t, bearer, "GET", path, ""); got.status != 200 || got.text != a.text {
					t.Errorf("%s reads %s: %s", name, path, got)
				}
			}
			if got := r.send(t, ann, "GET", path, "", "If-None-Match", a.header.Get("ETag")); got.status != 404 || got.code() != "product_not_found" {
				t.Errorf("a user reads %s: %s", path, got)
			}
		}
		if got := r.send(t, ann, "POST", "/purchases", order(int64(a.body["id"].(float64)), 7), "Idempotency-Key", path); got.status != 404 || got.code() != "product_not_found" {
			t.Errorf("a user buys it: %s", got)
		}
		if got := r.send(t, admin, "PATCH", path, `{"title":"again"}`); got.status != 200 || got.body["status"] != a.body["status"] {
			t.Errorf("its status stays: %s", got)
		}
		if got := r.send(t, admin, "PATCH", path, fmt.Sprintf(`{"title":%q}`, a.body["title"])); got.status != 200 {
			t.Error(got)
		}
		if n := s.number(t, `SELECT count(*) FROM catalog.purchases`); n != 0 {
			t.Errorf("%d purchases", n)
		}
	}
	for _, c := range []struct {
		bearer, query string
		status        int
		titles        string
	}{
		{ann, "", 200, "tea"}, {ann, "?status=active&sort=title", 200, "tea"}, {ann, "?q=a", 200, "tea"}, {ann, "?status=draft", 403, ""}, {ann, "?status=archived&q=a", 403, ""}, {ann, "?status=x", 422, ""},
		{admin, "", 200, "archived draft tea"}, {support, "?sort=title", 200, "archived draft tea"}, {admin, "?status=draft", 200, "draft"}, {support, "?status=archived&sort=price", 200, "archived"},
		{admin, "?status=active&sort=-price", 200, "tea"}, {admin, "?q=a&status=archived", 200, "archived"}, {admin, "?q=a&sort=price", 200, "tea draft archived"},
	} {
		a := r.send(t, c.bearer, "GET", "/products"+c.query, "")
		if a.status != c.status || a.status == 200 && a.titles() != c.titles {
			t.Errorf("%s: %s", c.query, a)
		}
	}
	// The key of a refused order can still be used once the product is on sale, and its purchase stays when it no longer is.
	draft := fmt.Sprint("/products/", r.send(t, admin, "GET", "/products/by-sku/D", "").body["id"])
	if a := r.send(t, admin, "PATCH", draft, `{"status":"active"}`); a.status != 200 {
		t.Fatal(a)
	}
	var id int64
	fmt.Sscanf(draft, "/products/%d", &id)
	bought := r.send(t, ann, "POST", "/purchases", order(id, 7), "Idempotency-Key", draft)
	if bought.status != 201 {
		t.Errorf("on sale: %s", bought)
	}
	if a := r.send(t, admin, "PATCH", draft, `{"status":"archived","title":"gone"}`); a.status != 200 {
		t.Fatal(a)
	}
	if a := r.send(t, ann, "POST", "/purchases", order(id, 7), "Idempotency-Key", draft); a.status != 201 || a.body["title"] != "draft" || a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("a repeat of an order for what is archived now: %s", a)
	}
	if a := r.send(t, ann, "GET", bought.header.Get("Location"), ""); a.status != 200 || a.text != bought.text {
		t.Errorf("the purchase: %s", a)
	}
}

// An order that is sent after a product's change to archived, draft or deleted was
// answered is refused, by every replica, whatever orders are under way.
func TestAnOrderAfterTheChangeIsRefused(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	newBilling(t, s, settled)
	replicas := []*replica{s.start(t, nil), s.start(t, nil)}
	s.openShelf(t, replicas...)
	admin := s.token(t, 1, "admin")
	for round := range 12 {
		id := replicas[0].product(t, "tea", "1")
		path := fmt.Sprint("/products/", id)
		var answered atomic.Bool
		var sold, refused atomic.Int64
		var buyers sync.WaitGroup
		for i := range 8 {
			ann, r := s.token(t, int64(100+i), "user"), replicas[i%2]
			buyers.Go(func() {
				for after := 0; after < 3; {
					late := answered.Load() // the order is sent after this
					a, err := r.trySend(context.WithoutCancel(t.Context()), ann, "POST", "/purchases", order(id, 7))
					switch {
					case err != nil:
						t.Error(err)
						return
					case a.status == 201 && !late:
						sold.Add(1)
					case a.status == 404 && a.code() == "product_not_found":
						refused.Add(1)
					default:
						t.Errorf("sent after the answer %v: %s", late, a)
					}
					if late {
						after++
					}
				}
			})
		}
		waittest.Eventually(t, "it is sold", func() bool { return sold.Load() > 8 })
		var a answer
		switch round % 3 {
		case 0:
			a = replicas[0].send(t, admin, "PATCH", path, `{"status":"archived"}`)
		case 1:
			a = replicas[1].send(t, admin, "PATCH", path, `{"status":"draft"}`)
		case 2:
			a = replicas[1].send(t, admin, "DELETE", path, "")
		}
		answered.Store(true)
		if a.status/100 != 2 {
			t.Errorf("the change: %s", a)
		}
		buyers.Wait()
		if refused.Load() < 24 {
			t.Errorf("%d orders were refused", refused.Load())
		}
	}
}

func TestProductsBySKU(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	r := s.start(t, nil)
	admin, ann := s.token(t, 1, "admin"), s.token(t, 2, "user")
	const body = `{"title":"tea","description":"green","price":3.50,"images":["https://p.example/tea.jpg?a=1&b=2"],"attributes":{"weight <g>":"250","origin":"Грузия"}}`
	put := func(sku, body string, headers ...string) answer {
		t.Helper()
		return r.send(t, admin, "PUT", "/products/by-sku/"+url.PathEscape(sku), body, headers...)
	}
	made := put("TEA 50%,a?#;=", body, "If-None-Match", "*")
	if made.status != 201 || made.body["sku"] != "TEA 50%,a?#;=" || made.header.Get("Location") != fmt.Sprint("/products/", made.body["id"]) || made.header.Get("ETag") == "" {
		t.Fatalf("created: %s %v", made, made.header)
	}
	for _, path := range []string{made.header.Get("Location"), "/products/by-sku/" + url.PathEscape("TEA 50%,a?#;="), "/products/by-sku/TEA%2050%25%2Ca%3F%23%3B%3D"} {
		if a := r.send(t, ann, "GET", path, ""); a.status != 200 || a.text != made.text || a.header.Get("ETag") != made.header.Get("ETag") || a.header.Get("Cache-Control") != "private, no-cache" {
			t.Errorf("%s: %s %v", path, a, a.header)
		}
		if a := r.send(t, ann, "GET", path, "", "If-None-Match", made.header.Get("ETag")); a.status != 304 {
			t.Errorf("%s, unchanged: %s", path, a)
		}
	}
	entries := func() int { return s.number(t, `SELECT count(*) FROM catalog.log`) }
	for name, again := range map[string]string{"the same": body, "less": `{"title":"tea","description":"green","price":3.5}`} {
		if a := put("TEA 50%,a?#;=", again, "If-Match", made.header.Get("ETag")); a.status != 200 || a.text != made.text || a.header.Get("ETag") != made.header.Get("ETag") || entries() != 1 {
			t.Errorf("%s: %s, %d entries of the log", name, a, entries())
		}
	}
	if a := put("TEA 50%,a?#;=", body, "If-None-Match", "*"); a.status != 412 || a.code() != "precondition_failed" {
		t.Errorf("create what is there: %s", a)
	}
	if a := put("TEA 50%,a?#;=", body, "If-Match", `"p0-0"`); a.status != 412 {
		t.Errorf("another version: %s", a)
	}
	for _, match := range []string{"*", `"p0-0"`} {
		if a := put("none", body, "If-Match", match); a.status != 412 || a.code() != "precondition_failed" {
			t.Errorf("If-Match: %s of no product: %s", match, a)
		}
	}
	if a := put("x", body, "If-None-Match", `"p1-1"`); a.status != 400 {
		t.Errorf("If-None-Match of a tag: %s", a)
	}
	changed := put("TEA 50%,a?#;=", `{"title":"tea","description":"green","price":4,"attributes":{"origin":"Ceylon"}}`)
	if changed.status != 200 || changed.header.Get("ETag") == made.header.Get("ETag") || !strings.Contains(changed.text, `"attributes":{"origin":"Ceylon"}`) || !strings.Contains(changed.text, `b=2`) {
		t.Errorf("changed: %s", changed)
	}
	log := r.send(t, admin, "GET", "/catalog/log", "")
	if entries() != 2 || !strings.Contains(log.text, `"before":{"attributes.origin":"Грузия","attributes.weight \u003cg\u003e":"250","price":3.50}`) || !strings.Contains(log.text, `"after":{"attributes.origin":"Ceylon","price":4}`) {
		t.Errorf("the log: %s", log)
	}

	// A SKU is one product's, until it is deleted or gets another.
	coffee := r.send(t, admin, "POST", "/products", `{"title":"coffee","description":"","price":1,"sku":"COFFEE"}`)
	if coffee.status != 201 || coffee.body["sku"] != "COFFEE" {
		t.Fatal(coffee)
	}
	for _, a := range []answer{r.send(t, admin, "POST", "/products", `{"title":"x","description":"","price":1,"sku":"COFFEE"}`), r.send(t, admin, "PATCH", made.header.Get("Location"), `{"sku":"COFFEE"}`)} {
		if a.status != 409 || a.code() != "sku_taken" {
			t.Errorf("a SKU that is taken: %s", a)
		}
	}
	if a := r.send(t, admin, "PATCH", coffee.header.Get("Location"), `{"sku":""}`); a.status != 200 || strings.Contains(a.text, "sku") {
		t.Errorf("without a SKU: %s", a)
	}
	if a := r.send(t, admin, "PATCH", made.header.Get("Location"), `{"sku":"COFFEE"}`); a.status != 200 || a.body["sku"] != "COFFEE" {
		t.Errorf("with the other's: %s", a)
	}
	if a := r.send(t, admin, "DELETE", made.header.Get("Location"), ""); a.status != 204 {
		t.Fatal(a)
	}
	if a := r.send(t, ann, "GET", "/products/by-sku/COFFEE", ""); a.status != 404 || a.code() != "product_not_found" {
		t.Errorf("the SKU of a deleted product: %s", a)
	}
	if a := put("COFFEE", body); a.status != 201 || a.body["id"] == made.body["id"] {
		t.Errorf("the SKU of a deleted product is free: %s", a)
	}
	for sku, status := range map[string]int{"%2e": 422, "%2E%2E": 422, "%20a": 422, "%D1%87": 422, "a%2Fb": 422, "a%5Cb": 422, strings.Repeat("x", 65): 422, "%00": 400, "a%7F": 422} {
		if a := r.send(t, admin, "PUT", "/products/by-sku/"+sku, body); a.status != status {
			t.Errorf("PUT %s: %s", sku, a)
		}
		if a := r.send(t, ann, "GET", "/products/by-sku/"+sku, ""); a.status != 404 && a.status != 400 {
			t.Errorf("GET %s: %s", sku, a)
		}
	}
	for _, bad := range []string{`{}`, `{"title":"x","description":"","price":0}`, `{"title":"x","description":"","price":1,"status":"sold"}`, `{"title":"x","description":"","price":1,"images":["http://x"]}`} {
		if a := put("x", bad); a.status != 422 {
			t.Errorf("%s: %s", bad, a)
		}
	}
	for _, bad := range []string{`{"title":"x","description":"","price":1,"sku":"x"}`, `{"title":"x","description":"","price":1,"images":[1]}`, `{"title":"x","description":"","price":1,"attributes":{"a":1}}`, `{"title":"x","description":"","price":1,"attributes":{"a":"1","a":"2"}}`, `{"title":"x","description":"","price":1,"images":null}`} {
		if a := put("x", bad); a.status != 400 {
			t.Errorf("%s: %s", bad, a)
		}
	}
}

// However many puts of a SKU there are at once, there is one product, and one version for
// each that differs from the one before.
func TestPutsOfOneSKUAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	replicas := []*replica{s.start(t, nil), s.start(t, nil)}
	admin := s.token(t, 1, "admin")
	var created, same atomic.Int64
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			body := fmt.Sprintf(`{"title":"tea","description":"","price":%d}`, 1+i%3)
			a := replicas[i%2].send(t, admin, "PUT", "/products/by-sku/TEA", body)
			for a.status == 503 { // they wait for each other's lock for a quarter of a second at most
				a = replicas[i%2].send(t, admin, "PUT", "/products/by-sku/TEA", body)
			}
			switch a.status {
			case 201:
				created.Add(1)
			case 200:
				same.Add(1)
			default:
				t.Errorf("%s", a)
			}
		})
	}
	all.Wait()
	if created.Load() != 1 || same.Load() != 39 {
		t.Errorf("%d were answered as created, %d as there", created.Load(), same.Load())
	}
	if n := s.number(t, `SELECT count(*) FROM catalog.products`); n != 1 {
		t.Errorf("%d products", n)
	}
	if versions, entries := s.number(t, `SELECT version FROM catalog.products`), s.number(t, `SELECT count(*) FROM catalog.log`); versions != entries {
		t.Errorf("%d versions, and %d entries of the log", versions, entries)
	}
}
