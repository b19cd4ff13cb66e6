package main

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func TestProducts(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	r := s.start(t, nil)
	admin, ann := s.token(t, 1, "admin"), s.token(t, 2, "user")

	a := r.send(t, admin, "POST", "/products", `{"title":"Чай","description":"green","price":3.50}`)
	if a.status != 201 || a.body["title"] != "Чай" || !strings.Contains(a.text, `"price":3.50,`) || a.body["created_at"] != a.body["updated_at"] || !strings.HasSuffix(a.body["created_at"].(string), "Z") {
		t.Fatalf("created: %s", a)
	}
	location, tag := a.header.Get("Location"), a.header.Get("ETag")
	if location != fmt.Sprint("/products/", a.body["id"]) || tag == "" {
		t.Errorf("headers %v", a.header)
	}
	got := r.send(t, ann, "GET", location, "")
	if got.status != 200 || got.text != a.text || got.header.Get("ETag") != tag {
		t.Errorf("read: %s %v", got, got.header)
	}
	if same := r.send(t, ann, "GET", location, "", "If-None-Match", `"x", W/`+tag); same.status != 304 || same.text != "" || same.header.Get("ETag") != tag {
		t.Errorf("unchanged: %s", same)
	}
	if head := r.send(t, ann, "HEAD", location, ""); head.status != 200 || head.header.Get("ETag") != tag {
		t.Errorf("HEAD: %s %v", head, head.header)
	}
	if a := r.send(t, admin, "PATCH", location, `{}`); a.status != 200 || a.text != got.text || a.header.Get("ETag") != tag {
		t.Errorf("nothing changed: %s", a)
	}
	if a := r.send(t, admin, "PATCH", location, `{"price":4}`, "If-Match", `"p0-0"`); a.status != 412 || a.code() != "precondition_failed" {
		t.Errorf("another product's tag: %s", a)
	}
	changed := r.send(t, admin, "PATCH", location, `{"price":4}`, "If-Match", tag)
	if changed.status != 200 || !strings.Contains(changed.text, `"price":4,`) || changed.body["title"] != "Чай" || changed.header.Get("ETag") == tag {
		t.Errorf("changed: %s %v", changed, changed.header)
	}
	if a := r.send(t, admin, "PATCH", location, `{"title":"Tea"}`, "If-Match", tag); a.status != 412 {
		t.Errorf("an outdated tag: %s", a)
	}
	if a := r.send(t, admin, "DELETE", location, "", "If-Match", tag); a.status != 412 || a.code() != "precondition_failed" {
		t.Errorf("deleting another version: %+v", a)
	}
	if a := r.send(t, admin, "PATCH", location, `{"title":"Tea"}`, "If-Match", "*"); a.status != 200 || a.body["title"] != "Tea" {
		t.Errorf("any version: %s", a)
	}
	if got := r.send(t, ann, "GET", location, "", "If-None-Match", tag); got.status != 200 {
		t.Errorf("an outdated copy: %s", got)
	}
	if a := r.send(t, admin, "DELETE", location, ""); a.status != 204 || a.text != "" {
		t.Errorf("deleted: %s", a)
	}
	for _, method := range []string{"GET", "DELETE"} {
		if a := r.send(t, admin, method, location, ""); a.status != 404 || a.code() != "product_not_found" {
			t.Errorf("%s of a deleted product: %s", method, a)
		}
	}
	if a := r.send(t, admin, "PATCH", location, `{}`, "If-Match", "*"); a.status != 404 {
		t.Errorf("PATCH of a deleted product: %s", a)
	}
}

func TestBadProducts(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	r := s.start(t, nil)
	admin := s.token(t, 1, "admin")
	location := fmt.Sprint("/products/", r.product(t, "tea", "1"))
	for _, c := range []struct {
		body   string
		status int
		code   string
	}{
		{`{"title":"","description":"","price":1}`, 422, "validation_failed"},
		{`{"title":"` + strings.Repeat("ё", 201) + `","description":"","price":1}`, 422, "validation_failed"},
		{`{"title":"a","description":"` + strings.Repeat("ё", 10_001) + `","price":1}`, 422, "validation_failed"},
		{`{"title":"a","description":"","price":0}`, 422, "invalid_amount"},
		{`{"title":"a","description":"","price":-1}`, 422, "invalid_amount"},
		{`{"title":"a","description":"","price":-0}`, 422, "invalid_amount"},
		{`{"title":"a","description":"","price":1e2}`, 422, "invalid_amount"},
		{`{"title":"a","description":"","price":1.001}`, 422, "invalid_amount"},
		{`{"title":"a","description":"","price":70000000000000.01}`, 422, "invalid_amount"},
		{`{"title":"a","description":"","price":"1"}`, 400, "malformed"},
		{`{"title":1,"description":"","price":1}`, 400, "malformed"},
		{`{"title":"a\u0000","description":"","price":1}`, 400, "malformed"},
		{"{\"title\":\"\xff\",\"description\":\"\",\"price\":1}", 400, "malformed"},
		{`{"title":"a","description":"","price":1,"id":7}`, 400, "malformed"},
		{`{"title":"a","description":"","price":null}`, 400, "malformed"},
		{`{"title":null,"description":"","price":1}`, 400, "malformed"},
		{`null`, 400, "malformed"},
		{`[]`, 400, "malformed"},
	} {
		if a := r.send(t, admin, "POST", "/products", c.body); a.status != c.status || a.code() != c.code {
			t.Errorf("POST %.80s: %s", c.body, a)
		}
		if a := r.send(t, admin, "PATCH", location, c.body); a.status != c.status || a.code() != c.code {
			t.Errorf("PATCH %.80s: %s", c.body, a)
		}
	}
	for body, fields := range map[string]string{
		`{"title":"","description":"","price":0}`:      "title price",
		`{"title":"a","description":"","price":0}`:     "price",
		`{"title":"a","description":"","price":9.999}`: "price",
	} {
		var named []string
		if a := r.send(t, admin, "POST", "/products", body); a.status == 422 {
			for _, e := range a.body["errors"].([]any) {
				named = append(named, e.(map[string]any)["field"].(string))
			}
		}
		if got := strings.Join(named, " "); got != fields {
			t.Errorf("%s: the errors name %q, want %q", body, got, fields)
		}
	}
	if a := r.send(t, admin, "PATCH", location, `{"price":4}`, "If-Match", "p1-1"); a.status != 400 || a.code() != "malformed" {
		t.Errorf("a tag without quotes: %s", a)
	}
	if a := r.send(t, admin, "POST", "/products", `{}`); a.status != 422 || len(a.body["errors"].([]any)) != 3 {
		t.Errorf("an empty object: %s", a)
	}
	if a := r.send(t, admin, "POST", "/products", `{"title":"a","description":"","price":70000000000000.00}`); a.status != 201 {
		t.Errorf("the highest price: %s", a)
	}
	for path, status := range map[string]int{"/products/x": 400, "/products/9223372036854775808": 400, "/products/0": 404, "/products/-1": 404, "/products/9223372036854775807": 404} {
		if a := r.send(t, admin, "GET", path, ""); a.status != status {
			t.Errorf("%s: %s", path, a)
		}
	}
}

func TestListingProducts(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	r := s.start(t, nil)
	ann := s.token(t, 2, "user")
	for i, title := range []string{"Чай", "кофе", "Tea 100%", "teapot", "Cup"} {
		r.product(t, title, fmt.Sprint(10-i))
	}
	titles := func(query string) string {
		t.Helper()
		var all []string
		cursor := ""
		for {
			a := r.send(t, ann, "GET", "/products?limit=2&"+query+"&cursor="+cursor, "")
			if a.status != 200 {
				t.Fatalf("%s: %s", query, a)
			}
			for _, item := range a.body["items"].([]any) {
				all = append(all, item.(map[string]any)["title"].(string))
			}
			next, ok := a.body["next_cursor"].(string)
			if !ok {
				return strings.Join(all, " ")
			}
			cursor = next
		}
	}
	for query, want := range map[string]string{
		"":                           "Cup teapot Tea 100% кофе Чай",
		"sort=newest":                "Cup teapot Tea 100% кофе Чай",
		"sort=title":                 "Cup Tea 100% teapot кофе Чай",
		"sort=price":                 "Cup teapot Tea 100% кофе Чай",
		"sort=-price":                "Чай кофе Tea 100% teapot Cup",
		"q=TEA&sort=price":           "teapot Tea 100%",
		"q=" + url.QueryEscape("ча"): "Чай",
		"q=%25":                      "Tea 100%",
		"q=_":                        "",
	} {
		if got := titles(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	// A forged cursor is refused or harmless.
	for cursor, status := range map[string]int{
		`{"l":"products by title","k":{"i":1,"t":"\u0000","p":1}}`: 400, `{"l":"products by title","k":{"i":1,"t":1}}`: 400,
		`{"l":"products by title","k":{}}`: 200, `{"l":"products by title"}`: 400, `{"l":"purchases","k":{"i":1}}`: 400, `[]`: 400,
	} {
		if a := r.send(t, ann, "GET", "/products?sort=title&cursor="+base64.RawURLEncoding.EncodeToString([]byte(cursor)), ""); a.status != status {
			t.Errorf("cursor %s: %s, want %d", cursor, a, status)
		}
	}
	page := r.send(t, ann, "GET", "/products?limit=2", "")
	tag, cursor := page.header.Get("ETag"), page.body["next_cursor"].(string)
	if a := r.send(t, ann, "GET", "/products?limit=2", "", "If-None-Match", tag); a.status != 304 || a.header.Get("ETag") != tag {
		t.Errorf("unchanged: %s", a)
	}
	for query, status := range map[string]int{
		"sort=price&cursor=" + cursor: 400, "sort=newest&cursor=" + cursor: 200, "sort=best": 422, "limit=0": 422, "q=" + strings.Repeat("q", 201): 422, "q=": 422, "q=" + strings.Repeat("%D0%B6", 200): 200, "q=%ff": 400, "q=%00": 400,
	} {
		if a := r.send(t, ann, "GET", "/products?"+query, ""); a.status != status {
			t.Errorf("%.40s: %s, want %d", query, a, status)
		}
	}
	r.product(t, "new", "1")
	if a := r.send(t, ann, "GET", "/products?limit=2", "", "If-None-Match", tag); a.status != 200 {
		t.Errorf("changed: %s", a)
	}
}

// A page of the longest descriptions ends early, and page by page all are there. A
// description takes up to six bytes for a character: one product always fits.
func TestPagesOfLongDescriptionsEndEarly(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	r := s.start(t, nil)
	ann, admin := s.token(t, 2, "user"), s.token(t, 1, "admin")
	const products = 30
	want := map[string]bool{}
	for i := range products {
		text := "ж"
		if i%3 == 0 {
			text = "<"
		}
		title := fmt.Sprint("long ", i)
		want[title] = true
		body := fmt.Sprintf(`{"title":%q,"description":"%s","price":%d}`, title, strings.Repeat(text, 10_000), 1+i%4)
		if a := r.send(t, admin, "POST", "/products", body); a.status != 201 {
			t.Fatal(a)
		}
	}
	for _, sort := range []string{"newest", "title", "price", "-price"} {
		for _, q := range []string{"", "&q=long"} {
			seen := map[string]bool{}
			pages := 0
			for cursor, more := "", true; more; pages++ {
				a := r.send(t, ann, "GET", "/products?limit=100&sort="+sort+q+"&cursor="+cursor, "")
				items, _ := a.body["items"].([]any)
				if a.status != 200 || len(a.text) > 256<<10 || len(items) < 4 && pages == 0 || len(items) == 0 {
					t.Fatalf("%s: %d, %d items, %d bytes", sort, a.status, len(items), len(a.text))
				}
				for _, item := range items {
					title := item.(map[string]any)["title"].(string)
					if seen[title] {
						t.Errorf("%s: %s is there twice", sort, title)
					}
					seen[title] = true
				}
				cursor, more = a.body["next_cursor"].(string)
			}
			if len(seen) != products || pages < 4 {
				t.Errorf("%s%s: %d products on %d pages, want %d", sort, q, len(seen), pages, products)
			}
		}
	}
}
