package main

import (
	"fmt"
	"strings"
	"testing"
)

// Each item of a batch has its own result, and one that is refused does not stop the
// others. Repeated, the batch changes nothing.
func TestBatches(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	r := s.start(t, nil)
	admin := s.token(t, 1, "admin")
	items := []struct {
		text   string
		status int
		says   string
	}{
		{`{"sku":"A","title":"a","description":"","price":1}`, 201, `"sku":"A"`},
		{`{"sku":"B","title":"","description":"","price":1}`, 422, `"code":"validation_failed"`},
		{`{"sku":"C","title":"c","description":"","price":1.001}`, 422, `"code":"invalid_amount"`},
		{`{"sku":"D","title":"d","description":"","price":"1"}`, 400, `"code":"malformed"`},
		{`{"sku":"E","title":"e","description":"","price":1,"id":7}`, 400, `"code":"malformed"`},
		{`{"title":"f","description":"","price":1}`, 422, `"field":"sku"`},
		{`[]`, 400, `"code":"malformed"`},
		{`7`, 400, `"code":"malformed"`},
		{`{"sku":"","title":"g","description":"","price":1}`, 422, `"field":"sku"`},
		{`{"sku":"H","title":"h","description":"","price":1,"status":"draft"}`, 503, `"code":"not_open_yet"`},
		{`{"sku":"I","title":"i","description":"","price":1,"stock":5}`, 503, `"code":"not_open_yet"`},
		{`{"sku":"J","title":"j","description":"","price":1,"stock":-1}`, 422, `"field":"stock"`},
		{`{"sku":"A","title":"a","description":"","price":2}`, 200, `"price":2`},
		{`{"sku":"Z","title":"z","description":"","price":1,"images":["https://p.example/z"],"attributes":{"a":"b"}}`, 201, `"images":["https://p.example/z"]`},
	}
	var texts []string
	for _, item := range items {
		texts = append(texts, item.text)
	}
	batch := `{"items":[` + strings.Join(texts, ",") + `]}`
	a := r.send(t, admin, "POST", "/products/batch", batch)
	results, _ := a.body["items"].([]any)
	if a.status != 200 || len(results) != len(items) {
		t.Fatal(a)
	}
	for i, item := range items {
		result := results[i].(map[string]any)
		_, product := result["product"]
		refused, _ := result["problem"].(map[string]any)
		if result["status"] != float64(item.status) || product != (item.status < 400) || (refused != nil) == product {
			t.Errorf("%s: %v", item.text, result)
		}
		if refused != nil && (refused["status"] != float64(item.status) || refused["trace_id"] == "" || refused["detail"] == "") {
			t.Errorf("%s: %v", item.text, refused)
		}
		if !strings.Contains(a.text, item.says) {
			t.Errorf("%s: nothing says %s in %s", item.text, item.says, a)
		}
	}
	if n := s.number(t, `SELECT count(*) FROM catalog.products`); n != 2 {
		t.Errorf("%d products", n)
	}
	once := `{"items":[{"sku":"A","title":"a","description":"","price":2},{"sku":"Z","title":"z","description":"","price":1}]}`
	before := s.number(t, `SELECT count(*) FROM catalog.log`)
	if a := r.send(t, admin, "POST", "/products/batch", once); a.status != 200 || strings.Count(a.text, `"status":200`) != 2 || s.number(t, `SELECT count(*) FROM catalog.log`) != before || before != 3 {
		t.Errorf("repeated: %s", a)
	}
	for body, want := range map[string]string{
		`{}`: "422 validation_failed", `{"items":[]}`: "422 validation_failed", `{"items":[` + strings.Repeat(`{},`, 100) + `{}]}`: "422 validation_failed",
		`{"items":{}}`: "400 malformed", `{"items":[{"sku":null}]}`: "400 malformed", `{"items":[{"sku":"a","sku":"b"}]}`: "400 malformed", `{"items":[{}],"x":1}`: "400 malformed", `[]`: "400 malformed",
	} {
		if a := r.send(t, admin, "POST", "/products/batch", body); fmt.Sprint(a.status, " ", a.code()) != want {
			t.Errorf("%.40s: %s, want %s", body, a, want)
		}
	}
}

// A put gives a new product its stock, and never changes that of a product that exists.
func TestPutsWithStock(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.openShelf(t)
	newBilling(t, s, settled)
	r := s.start(t, nil).shelfOpen(t)
	admin, ann := s.token(t, 1, "admin"), s.token(t, 2, "user")
	const body = `"title":"tea","description":"","price":1,"stock":3}`
	for _, put := range []func() answer{
		func() answer { return r.send(t, admin, "PUT", "/products/by-sku/A", `{`+body) },
		func() answer {
			return r.send(t, admin, "POST", "/products/batch", `{"items":[{"sku":"A",`+body+`,{"sku":"B",`+body+`]}`)
		},
	} {
		if a := put(); a.status >= 300 || strings.Contains(a.text, `"problem"`) || !strings.Contains(a.text, `"in_stock":true`) {
			t.Fatal(a)
		}
		if a := r.send(t, ann, "POST", "/purchases", units(1, 1)); a.status != 201 {
			t.Errorf("bought: %s", a)
		}
	}
	for product, want := range map[int64]any{1: 1.0, 2: 3.0} {
		if got := r.stock(t, product); got != want {
			t.Errorf("product %d: %v in stock, want %v", product, got, want)
		}
	}
	verified(t, s)
}

// A batch may have a body of 1 MiB, and no other route more than 64 KiB.
func TestTheBodyOfABatch(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	r := s.start(t, nil)
	admin := s.token(t, 1, "admin")
	var items []string
	for i := range 100 {
		items = append(items, fmt.Sprintf(`{"sku":"S%d","title":"tea","description":%q,"price":1}`, i, strings.Repeat("x", 10_000)))
	}
	batch := `{"items":[` + strings.Join(items, ",") + `]}`
	full := batch + strings.Repeat(" ", 1<<20-len(batch))
	if a := r.send(t, admin, "POST", "/products/batch", full); a.status != 200 || strings.Count(a.text, `"status":201`) != 100 {
		t.Errorf("1 MiB: %.300s", a)
	}
	if a := r.send(t, admin, "POST", "/products/batch", full+" "); a.status != 413 || a.code() != "body_too_large" {
		t.Errorf("more: %s", a)
	}
	if a := r.send(t, s.token(t, 2, "user"), "POST", "/products/batch", full); a.status != 403 {
		t.Errorf("a user: %s", a)
	}
	one := `{"title":"tea","description":"","price":1}`
	for method, path := range map[string]string{"POST": "/products", "PATCH": "/products/1", "PUT": "/products/by-sku/S1"} {
		if a := r.send(t, admin, method, path, one+strings.Repeat(" ", 64<<10)); a.status != 413 {
			t.Errorf("%s %s: %s", method, path, a)
		}
	}
}

// The longest images and attributes of a full page don't make it too large.
func TestPagesOfManyAttributesEndEarly(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	r := s.start(t, nil)
	admin := s.token(t, 1, "admin")
	var images, attributes []string
	for i := range 10 {
		images = append(images, fmt.Sprintf("%q", fmt.Sprintf("https://p.example/%d?%s", i, strings.Repeat("&", 400))))
	}
	for i := range 32 {
		attributes = append(attributes, fmt.Sprintf(`"%d%s":%q`, i, strings.Repeat("<", 30), strings.Repeat("🫖", 200)))
	}
	const products = 20
	for i := range products {
		body := fmt.Sprintf(`{"title":"tea %d","description":"","price":1,"images":[%s],"attributes":{%s}}`, i, strings.Join(images, ","), strings.Join(attributes, ","))
		if a := r.send(t, admin, "PUT", fmt.Sprint("/products/by-sku/", i), body); a.status != 201 {
			t.Fatal(a)
		}
	}
	seen, pages := 0, 0
	for cursor, more := "", true; more; pages++ {
		a := r.send(t, s.token(t, 2, "user"), "GET", "/products?limit=100&cursor="+cursor, "")
		items, _ := a.body["items"].([]any)
		if a.status != 200 || len(a.text) > 256<<10 || len(items) == 0 {
			t.Fatalf("%d: %d items, %d bytes", a.status, len(items), len(a.text))
		}
		seen += len(items)
		cursor, more = a.body["next_cursor"].(string)
	}
	if seen != products || pages < 3 {
		t.Errorf("%d products on %d pages", seen, pages)
	}
}

// In a public shop the products on sale can be read without a token, and nothing else. A
// token that is sent is checked.
func TestAPublicShop(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	r := s.start(t, func(c *Config) { c.Public = true })
	s.openShelf(t, r)
	admin, ann := s.token(t, 1, "admin"), s.token(t, 2, "user")
	tea := r.send(t, admin, "PUT", "/products/by-sku/TEA", `{"title":"tea","description":"","price":1}`)
	draft := r.send(t, admin, "PUT", "/products/by-sku/DRAFT", `{"title":"draft","description":"","price":1,"status":"draft"}`)
	if tea.status != 201 || draft.status != 201 {
		t.Fatal(tea, draft)
	}
	for path, want := range map[string]int{
		"/products": 200, "/products?q=tea&sort=price": 200, "/products?status=active": 200, "/products?status=draft": 403, tea.header.Get("Location"): 200, "/products/by-sku/TEA": 200,
		draft.header.Get("Location"): 404, "/products/by-sku/DRAFT": 404, "/purchases": 401, "/catalog/log": 401, "/admin/purchases?status=pending": 401,
	} {
		a := r.send(t, "", "GET", path, "")
		if a.status != want || strings.Contains(a.text, `"title":"draft"`) || a.status == 200 && !strings.Contains(a.text, `"title":"tea"`) {
			t.Errorf("%s without a token: %s", path, a)
		}
		if want == 200 {
			if b := r.send(t, ann, "GET", path, ""); b.text != a.text {
				t.Errorf("%s: a user sees %s, and without a token %s", path, b, a)
			}
		}
		if a := r.send(t, "x", "GET", path, ""); a.status != 401 || a.code() != "token_invalid" {
			t.Errorf("%s with a bad token: %s", path, a)
		}
	}
	if a := r.send(t, "", "GET", tea.header.Get("Location"), "", "If-None-Match", tea.header.Get("ETag")); a.status != 304 {
		t.Errorf("unchanged: %s", a)
	}
	for _, c := range [][2]string{{"POST", "/products"}, {"POST", "/products/batch"}, {"PATCH", "/products/1"}, {"PUT", "/products/by-sku/TEA"}, {"DELETE", "/products/1"}, {"POST", "/purchases"}} {
		if a := r.send(t, "", c[0], c[1], `{}`); a.status != 401 {
			t.Errorf("%s %s without a token: %s", c[0], c[1], a)
		}
	}
	if a := r.send(t, admin, "GET", "/products?status=draft", ""); a.status != 200 || a.titles() != "draft" {
		t.Errorf("an admin in a public shop: %s", a)
	}
}
