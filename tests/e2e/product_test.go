package e2e

import (
	"fmt"
	"strings"
	"testing"
)

func TestProducts(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	a := shop.admin.want(t, 201, "", "POST", "/products", map[string]any{"title": "Тарелка", "description": "blue", "price": 9.99})
	path, tag := a.header.Get("Location"), a.header.Get("ETag")
	if path != fmt.Sprint("/products/", a.int("id")) || tag == "" || a.str("price") != "9.99" {
		t.Errorf("%s %v", a, a.header)
	}
	got := u.want(t, 200, "", "GET", path, nil)
	if string(got.body) != string(a.body) || got.header.Get("ETag") != tag {
		t.Errorf("read %s, but created as %s", got, a)
	}
	u.want(t, 304, "", "GET", path, nil, "If-None-Match", tag)
	u.want(t, 304, "", "GET", path, nil, "If-None-Match", `"x", W/`+tag)
	list := u.want(t, 200, "", "GET", "/products?limit=1&q=тарел", nil)
	if list.str("items.0.title") != "Тарелка" {
		t.Errorf("%s", list)
	}
	u.want(t, 304, "", "GET", "/products?limit=1&q=тарел", nil, "If-None-Match", list.header.Get("ETag"))
	if none := u.want(t, 200, "", "GET", "/products?q=%25%25", nil); none.get("items.0") != nil {
		t.Errorf("%% is not a pattern: %s", none)
	}

	shop.admin.want(t, 412, "precondition_failed", "PATCH", path, map[string]any{"price": 5}, "If-Match", `"other"`)
	changed := shop.admin.want(t, 200, "", "PATCH", path, map[string]any{"price": 5}, "If-Match", tag)
	if changed.str("price") != "5" || changed.str("title") != "Тарелка" || changed.header.Get("ETag") == tag {
		t.Errorf("%s %v", changed, changed.header)
	}
	u.want(t, 200, "", "GET", path, nil, "If-None-Match", tag)
	for _, body := range []string{`{"title": "", "description": "", "price": 1}`, `{"title": " ", "description": "", "price": 1}`, `{"description": "", "price": 1}`,
		`{"title": "` + strings.Repeat("x", 201) + `", "description": "", "price": 1}`, `{"title": "x", "description": "` + strings.Repeat("x", 10_001) + `", "price": 1}`} {
		shop.admin.want(t, 422, "validation_failed", "POST", "/products", []byte(body))
	}
	for _, price := range []string{"0", "-1", "-0", "1.001", "1e2", "70000000000000.01", "0.00"} {
		shop.admin.want(t, 422, "invalid_amount", "POST", "/products", []byte(`{"title": "x", "description": "", "price": `+price+`}`))
		shop.admin.want(t, 422, "invalid_amount", "PATCH", path, []byte(`{"price": `+price+`}`))
	}
	for _, price := range []string{`"1"`, "true", "[1]", "{}", "NaN", "01"} {
		shop.admin.want(t, 400, "malformed", "POST", "/products", []byte(`{"title": "x", "description": "", "price": `+price+`}`))
	}
	shop.admin.want(t, 412, "precondition_failed", "DELETE", path, nil, "If-Match", tag)
	shop.admin.want(t, 204, "", "DELETE", path, nil)
	shop.admin.want(t, 404, "product_not_found", "DELETE", path, nil)
	shop.admin.want(t, 404, "product_not_found", "PATCH", path, map[string]any{"price": 5})
	u.want(t, 404, "product_not_found", "GET", path, nil)
}
