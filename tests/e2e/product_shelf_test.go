package e2e

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// What is not on sale is there for admins and support only, through the gateway too.
func TestProductsThatAreNotOnSale(t *testing.T) {
	t.Parallel()
	u, support := shop.newUser(t), shop.newSupport(t)
	title := "Hidden " + u.login
	a := shop.admin.want(t, 201, "", "POST", "/products", map[string]any{"title": title, "description": "", "price": 5, "status": "draft"})
	path := a.header.Get("Location")
	u.want(t, 404, "product_not_found", "GET", path, nil)
	u.want(t, 403, "forbidden", "GET", "/products?status=draft", nil)
	search := "/products?q=" + url.QueryEscape(title)
	if list := u.want(t, 200, "", "GET", search, nil); list.get("items.0") != nil {
		t.Errorf("a user finds %s", list)
	}
	for _, status := range []string{"", "&status=draft"} {
		if list := support.want(t, 200, "", "GET", search+status, nil); list.str("items.0.status") != "draft" {
			t.Errorf("support finds %s", list)
		}
	}
	shop.admin.want(t, 200, "", "PATCH", path, map[string]any{"status": "active"})
	if got := u.want(t, 200, "", "GET", path, nil); got.str("status") != "active" {
		t.Errorf("%s", got)
	}
	shop.admin.want(t, 200, "", "PATCH", path, map[string]any{"status": "archived"})
	u.want(t, 404, "product_not_found", "POST", "/purchases", map[string]any{"product_id": a.get("id"), "bill_id": 1})
}

func TestProductsBySKU(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	sku := u.login + " 50%?#"
	path := "/products/by-sku/" + url.PathEscape(sku)
	tea := map[string]any{
		"title": "Tea", "description": "", "price": 9.99, "images": []string{"https://pictures.example/tea.jpg"}, "attributes": map[string]string{"Вес": "250 г"},
	}
	shop.admin.want(t, 412, "precondition_failed", "PUT", path, tea, "If-Match", "*")
	made := shop.admin.want(t, 201, "", "PUT", path, tea, "If-None-Match", "*")
	if made.str("sku") != sku || made.header.Get("Location") != fmt.Sprint("/products/", made.int("id")) {
		t.Errorf("%s %v", made, made.header)
	}
	shop.admin.want(t, 412, "precondition_failed", "PUT", path, tea, "If-None-Match", "*")
	if again := shop.admin.want(t, 200, "", "PUT", path, tea); string(again.body) != string(made.body) {
		t.Errorf("%s", again)
	}
	if got := u.want(t, 200, "", "GET", path, nil); string(got.body) != string(made.body) {
		t.Errorf("%s", got)
	}
	u.want(t, 304, "", "GET", path, nil, "If-None-Match", made.header.Get("ETag"))
	u.want(t, 404, "product_not_found", "GET", path+"x", nil)
	shop.admin.want(t, 409, "sku_taken", "POST", "/products", map[string]any{"title": "x", "description": "", "price": 1, "sku": sku})
}

// A batch of 1 MiB passes the gateway; one item that is refused does not stop the others.
func TestABatchOfProducts(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	var items []map[string]any
	for i := range 100 {
		items = append(items, map[string]any{"sku": fmt.Sprint(u.login, "-", i), "title": "Tea", "description": strings.Repeat("x", 10_000), "price": 1})
	}
	items[1] = map[string]any{"sku": fmt.Sprint(u.login, "-1"), "title": "Tea"}
	u.want(t, 403, "forbidden", "POST", "/products/batch", map[string]any{"items": items})
	a := shop.admin.want(t, 200, "", "POST", "/products/batch", map[string]any{"items": items})
	for i, want := range map[int]string{0: "201", 1: "422", 99: "201"} {
		if got := a.str(fmt.Sprintf("items.%d.status", i)); got != want {
			t.Errorf("item %d: %s, want %s", i, got, want)
		}
	}
	if code := a.str("items.1.problem.code"); code != "validation_failed" {
		t.Errorf("%s", code)
	}
	for _, n := range []int{1 << 20, 2 << 20} {
		shop.admin.want(t, 413, "body_too_large", "POST", "/products/batch", []byte(`{"items":[]}`+strings.Repeat(" ", n)))
	}
}
