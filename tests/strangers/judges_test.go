package strangers

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"lavka/tests/contract"
)

// Each validator finds each fault of an answer on its own. Otherwise one of them would
// only seem to check.
func TestBothValidatorsFindFaults(t *testing.T) {
	t.Parallel()
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(root, "services", "catalog", "api", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := doc.MarshalJSON() // as it is served
	if err != nil {
		t.Fatal(err)
	}
	j, err := newJudge("catalog", text)
	if err != nil {
		t.Fatal(err)
	}
	kin, err := contract.New(map[string][]byte{"catalog": text})
	if err != nil {
		t.Fatal(err)
	}
	const (
		product  = `{"id":1,"title":"Samovar","description":"","price":59.90,"status":"active","images":["https://pictures.example/1"],"attributes":{"any name":"brass"},"created_at":"2026-11-23T21:19:35.45021Z","updated_at":"2026-11-23T21:19:35Z"}`
		purchase = `{"id":"01a20a47-5025-7115-9e92-19849d9a7ef1","product_id":1,"title":"Samovar","price":59.90,"bill_id":2001,"status":"completed","created_at":"2026-11-23T21:19:35Z"}`
		missing  = `{"type":"urn:lavka:problem:product_not_found","title":"Product not found","status":404,"detail":"no","code":"product_not_found","trace_id":""}`
		problem  = "application/problem+json"
	)
	for name, c := range map[string]struct {
		path, contentType string
		status            int
		body              string
		change            func(http.Header)
		right             bool
		onlySecond        bool // kin-openapi does not look at it
	}{
		"a product":                   {path: "/products/1", status: 200, body: product, right: true},
		"no product":                  {path: "/products/1", contentType: problem, status: 404, body: missing, right: true},
		"a purchase":                  {path: "/purchases/01a20a47-5025-7115-9e92-19849d9a7ef1", status: 200, body: purchase, right: true},
		"a page":                      {path: "/products", status: 200, body: `{"items":[` + product + `],"next_cursor":null}`, right: true},
		"a status of another route":   {path: "/products/1", contentType: problem, status: 409, body: strings.ReplaceAll(missing, "404", "409")},
		"another content type":        {path: "/products/1", contentType: "text/html", status: 200, body: product},
		"no content type":             {path: "/products/1", contentType: "-", status: 200, body: product},
		"a problem as JSON":           {path: "/products/1", status: 404, body: missing},
		"no ETag":                     {path: "/products/1", status: 200, body: product, change: func(h http.Header) { h.Del("ETag") }},
		"no body":                     {path: "/products/1", status: 200},
		"half a body":                 {path: "/products/1", status: 200, body: product[:50]},
		"a member is missing":         {path: "/products/1", status: 200, body: strings.Replace(product, `"title":"Samovar",`, "", 1)},
		"a member is new":             {path: "/products/1", status: 200, body: strings.Replace(product, `{`, `{"secret":1,`, 1)},
		"a member has another type":   {path: "/products/1", status: 200, body: strings.Replace(product, `59.90`, `"59.90"`, 1)},
		"a member is null":            {path: "/products/1", status: 200, body: strings.Replace(product, `"Samovar"`, `null`, 1)},
		"in a page":                   {path: "/products", status: 200, body: `{"items":[` + strings.Replace(product, "59.90", "true", 1) + `],"next_cursor":null}`},
		"no next_cursor":              {path: "/products", status: 200, body: `{"items":[]}`},
		"no date":                     {path: "/products/1", status: 200, body: strings.Replace(product, "2026-11-23T", "yesterday ", 1)},
		"no UUID":                     {path: "/purchases/01a20a47-5025-7115-9e92-19849d9a7ef1", status: 200, body: strings.Replace(purchase, "01a20a47-", "01a20a47", 1), onlySecond: true},
		"a status that is unknown":    {path: "/purchases/01a20a47-5025-7115-9e92-19849d9a7ef1", status: 200, body: strings.Replace(purchase, "completed", "lost", 1)},
		"a code that is not listed":   {path: "/products/1", contentType: problem, status: 404, body: strings.ReplaceAll(missing, "product_not_found", "bill_not_found")},
		"a problem of another status": {path: "/products/1", contentType: problem, status: 404, body: strings.Replace(missing, "404", "410", 1), onlySecond: true},
		"an amount of three decimals": {path: "/products/1", status: 200, body: strings.Replace(product, "59.90", "59.901", 1), onlySecond: true},
		"an id beyond 64 bits":        {path: "/products/1", status: 200, body: strings.Replace(product, `"id":1`, `"id":9223372036854775808`, 1), onlySecond: true},
	} {
		sent := httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+c.path, nil)
		header := http.Header{"Content-Type": {"application/json"}, "Etag": {`"p1-1"`}}
		switch c.contentType {
		case "":
		case "-":
			header.Del("Content-Type")
		default:
			header.Set("Content-Type", c.contentType)
		}
		if c.change != nil {
			c.change(header)
		}
		resp := &http.Response{StatusCode: c.status, Header: header}
		o, _ := j.find(http.MethodGet, c.path)
		second, first := j.answer(o, resp, []byte(c.body)), kin.Check(sent, nil, resp, []byte(c.body))
		if (second == nil) != c.right {
			t.Errorf("%s: jsonschema-go: %v", name, second)
		}
		if (first == nil) != (c.right || c.onlySecond) {
			t.Errorf("%s: kin-openapi: %v", name, first)
		}
	}
}

// The second validator finds each fault of a request.
func TestRequestsThatAContractForbids(t *testing.T) {
	t.Parallel()
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(root, "services", "catalog", "api", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	j, err := newJudge("catalog", text)
	if err != nil {
		t.Fatal(err)
	}
	for what, allowed := range map[string]bool{
		"GET /products?limit=1&sort=price": true, "GET /products?limit=x": false, "GET /products?limit=0": false, "GET /products?limit=1&limit=1": false,
		"GET /products?page=1": false, "GET /products?sort=color": false, "GET /products/1": true, "GET /products/x": false, "GET /products/9223372036854775808": false,
		"GET /purchases/x": false, `POST /products {"title":"x","description":"","price":1}`: true, `POST /products {"title":"x","description":""}`: false,
		`POST /products {"title":"","description":"","price":1}`: false, `POST /products {"title":"x","description":"","price":0}`: false,
		`POST /products {"title":"x","description":"","price":1,"x":1}`: false, `POST /products {"title":1,"description":"","price":1}`: false, `POST /products []`: false, `POST /products `: false,
	} {
		method, rest, _ := strings.Cut(what, " ")
		target, body, _ := strings.Cut(rest, " ")
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{Method: method, URL: u, Header: http.Header{"Content-Type": {"application/json"}}}
		o, path := j.find(method, u.EscapedPath())
		if o == nil {
			t.Fatalf("%s: no operation", what)
		}
		if err := j.request(o, path, r, []byte(body)); (err == nil) != allowed {
			t.Errorf("%s: %v, want it allowed: %v", what, err, allowed)
		}
	}
}
