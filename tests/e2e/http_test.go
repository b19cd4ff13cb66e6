package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"lavka/deploy/local/stack"
)

// Requests that reach no handler, because of their route, method, content type or
// body, are answered with problems as well.
func TestRequestsThatReachNoHandler(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	for _, path := range []string{"/", "/nowhere", "/auth/nowhere", "/users/1/2", "/products/1/2", "/purchases/", "/bills/1/transactions", "/payment", "/index.html"} {
		u.want(t, 404, "not_found", "GET", path, nil)
	}
	for _, c := range []struct{ method, path, allowed string }{
		{"DELETE", "/auth/login", "POST"},
		{"GET", "/auth/register", "POST"},
		{"PUT", "/users/1", "GET, PATCH, HEAD"},
		{"PATCH", "/products", "GET, POST, HEAD"},
		{"DELETE", "/purchases", "GET, POST, HEAD"},
		{"PUT", "/bills", "GET, POST, HEAD"},
		{"POST", "/transactions", "GET, HEAD"},
		{"GET", "/payment/webhook", "POST"},
		{"GET", "/payment/reversals", "POST"},
		{"POST", "/admin/reversals", "GET, HEAD"},
		{"POST", "/admin/refunds", "GET, HEAD"},
		{"PUT", "/purchases/01976b1e-0000-7000-8000-000000000001/refunds", "GET, POST, HEAD"},
		{"POST", "/admin/transactions", "GET, HEAD"},
		{"POST", "/admin/purchases", "GET, HEAD"},
		{"POST", "/customers", "GET, HEAD"},
		{"POST", "/.well-known/jwks.json", "GET, HEAD"},
	} {
		a := u.want(t, 405, "method_not_allowed", c.method, c.path, nil)
		for method := range strings.SplitSeq(c.allowed, ", ") {
			if !strings.Contains(a.header.Get("Allow"), method) {
				t.Errorf("%s %s: Allow %q, want %s in it", c.method, c.path, a.header.Get("Allow"), method)
			}
		}
	}
	big := []byte(`{"login": "` + strings.Repeat("x", 70_000) + `"}`)
	for _, c := range []struct {
		path   string
		client *client
	}{{"/auth/register", u.client}, {"/products", shop.admin}, {"/purchases", u.client}} {
		for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "", "nonsense"} {
			c.client.want(t, 415, "unsupported_media_type", "POST", c.path, []byte(`{}`), "Content-Type", contentType)
		}
		c.client.want(t, 413, "body_too_large", "POST", c.path, big)
		for _, body := range []string{"", "{", "null x", `{"a": 1, "a": 2}`, "\xff", `{"\u0000": 1}`, strings.Repeat("[", 50_000)} {
			c.client.want(t, 400, "malformed", "POST", c.path, []byte(body), "Content-Type", "application/json; charset=UTF-8")
		}
	}
	for _, path := range []string{"/products?q=%00", "/products?q=%ff", "/products?q=%zz", "/products/abc", "/bills/99999999999999999999", "/products?limit=x", "/products?limit=1&limit=2", "/transactions?bill_id=x", "/products?cursor=x", "/purchases/not-an-id"} {
		u.want(t, 400, "malformed", "GET", path, nil)
	}
	for _, path := range []string{"/products?limit=0", "/products?limit=101", "/purchases?limit=-1", "/products?sort=color", "/purchases?status=lost", "/transactions?type=gift", "/bills?limit=1000"} {
		a := u.want(t, 422, "validation_failed", "GET", path, nil)
		if a.str("errors.0.field") == "" || a.str("errors.0.message") == "" {
			t.Errorf("GET %s: %s", path, a)
		}
	}
}

// A query parameter that an operation does not have is refused and named, on every
// operation of every contract, and so is one that is given twice. Only the links that
// people follow take what mail programs add.
func TestNoParameterIsIgnored(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	path := strings.NewReplacer("{id}", "1", "{user_id}", "1", "{token}", "nobodys", "{transaction_id}", "1")
	links := 0
	for _, op := range checker.Operations() {
		c, target := u.client, path.Replace(op.Path)
		if op.Role == "support" || op.Role == "admin" {
			c = shop.admin
		}
		refused := func(query, detail string) {
			t.Helper()
			if a := c.want(t, 400, "malformed", op.Method, target+"?"+query, nil); !strings.Contains(a.str("detail"), detail) {
				t.Errorf("%s %s?%s: %s, want %s", op.Method, target, query, a, detail)
			}
		}
		if op.AnyParameters {
			links++
			c.want(t, 404, "activation_not_found", op.Method, target+"?utm_source=mail&utm_source=mail", nil)
			continue
		}
		refused("date_from=2026-01-01", `"date_from"`)
		for _, name := range op.Query {
			refused(name+"=1&"+name+"=1", name+" must not be given more than once")
			refused(strings.ToUpper(name)+"=1", fmt.Sprintf("%q", strings.ToUpper(name)))
		}
	}
	if links != 1 {
		t.Errorf("%d operations take any parameters, want only the activation link", links)
	}
	u.want(t, 400, "malformed", "GET", "/transactions?date_from=2026-01-01", nil)
	shop.admin.want(t, 400, "malformed", "GET", "/customers?bill_id=1", nil)
	if a := u.call(t, "HEAD", "/transactions?date_from=2026-01-01", nil); a.status != 400 {
		t.Errorf("HEAD: %s", a)
	}
	u.want(t, 200, "", "GET", strings.TrimPrefix(shop.register(t).activation, shop.GatewayURL())+"?utm_source=mail", nil)
}

func TestHeadWorksWhereverGetDoes(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	for _, path := range []string{"/users/me", "/products", "/purchases", "/bills", "/transactions", "/.well-known/jwks.json", "/billing/openapi.json"} {
		get, head := u.call(t, "GET", path, nil), u.call(t, "HEAD", path, nil)
		if head.status != get.status || len(head.body) != 0 || head.header.Get("Content-Type") != get.header.Get("Content-Type") {
			t.Errorf("HEAD %s: %d %v, GET: %d %v", path, head.status, head.header, get.status, get.header)
		}
	}
	if a := (&client{base: shop.GatewayURL()}).call(t, "HEAD", "/bills", nil); a.status != 401 {
		t.Errorf("HEAD without a token: %d", a.status)
	}
}

// Every problem contains its trace id, and a client's own trace is continued.
func TestProblemsCarryTheTrace(t *testing.T) {
	t.Parallel()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	c := &client{base: shop.GatewayURL()}
	for _, path := range []string{"/users/me", "/products", "/bills"} {
		a := c.want(t, 401, "unauthenticated", "GET", path, nil, "traceparent", "00-"+trace+"-00f067aa0ba902b7-00")
		if a.str("trace_id") != trace {
			t.Errorf("GET %s: %s", path, a)
		}
		if a := c.call(t, "GET", path, nil); len(a.str("trace_id")) != 32 {
			t.Errorf("GET %s without a traceparent: %s", path, a)
		}
	}
}

// Links are built from PUBLIC_URL, regardless of the request's Host.
func TestLinksDoNotBelieveTheHost(t *testing.T) {
	t.Parallel()
	conn, err := net.Dial("tcp", strings.TrimPrefix(shop.GatewayURL(), "http://"))
	must(t, err)
	defer conn.Close()
	body := fmt.Sprintf(`{"login":"host%d","password":"%s"}`, serial.Add(1), password)
	_, err = fmt.Fprintf(conn, "POST /auth/register HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	must(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	if answer := string(text); resp.StatusCode != 201 || strings.Contains(answer, "evil") || !strings.Contains(answer, shop.GatewayURL()) {
		t.Errorf("%d %s", resp.StatusCode, answer)
	}
}

func TestAServiceIsDown(t *testing.T) {
	t.Parallel()
	s := startShop(t, nil)
	u := s.newUser(t)
	bill := s.bill(t, u, "10")
	product := s.product(t, "a saucer", "3")

	must(t, s.Replicas(stack.Catalog)[0].Stop())
	a := u.want(t, 503, "service_unavailable", "POST", "/purchases", purchaseOf(product, bill))
	if a.header.Get("Retry-After") == "" {
		t.Errorf("no Retry-After: %v", a.header)
	}
	u.want(t, 200, "", "GET", "/bills", nil)
	u.want(t, 200, "", "GET", "/users/me", nil)
	must(t, s.Replicas(stack.Catalog)[0].Start(t.Context()))
	if b := u.balance(t, bill); b != "10" {
		t.Errorf("balance %s after a purchase that was refused", b)
	}

	// While billing is down, the purchase is accepted. It completes when billing is back.
	must(t, s.Replicas(stack.Billing)[0].Crash())
	a = u.want(t, 202, "", "POST", "/purchases", purchaseOf(product, bill), "Idempotency-Key", "saucer")
	if a.str("status") != "pending" || a.header.Get("Location") != "/purchases/"+a.str("id") || a.header.Get("Retry-After") == "" {
		t.Errorf("%s %v", a, a.header)
	}
	must(t, s.Replicas(stack.Billing)[0].Start(t.Context()))
	if end := settled(t, u, a); end != "completed" {
		t.Errorf("the purchase ended as %s", end)
	}
	again := u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill), "Idempotency-Key", "saucer")
	if again.str("id") != a.str("id") {
		t.Errorf("%s", again)
	}
	if b := u.balance(t, bill); b != "7" {
		t.Errorf("balance %s", b)
	}
	must(t, s.verify(t.Context()))
}
