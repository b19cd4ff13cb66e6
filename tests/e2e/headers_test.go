package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Responses are data for the client that requested them: no browser may interpret
// them as anything else, and no shared cache may store them.
func TestHeadersOfAnswers(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	product := fmt.Sprint("/products/", shop.product(t, "a lamp", "5"))
	anonymous := &client{base: shop.GatewayURL()}
	for _, c := range []struct {
		client        *client
		path, caching string
	}{
		{u.client, "/users/me", "no-store"}, {u.client, "/bills", "no-store"}, {u.client, "/transactions", "no-store"}, {u.client, "/purchases", "no-store"},
		{shop.admin, "/users", "no-store"}, {shop.admin, "/customers", "no-store"},
		{u.client, "/products", "private, no-cache"}, {u.client, product, "private, no-cache"}, {anonymous, "/.well-known/jwks.json", "public, max-age=60"},
		{anonymous, "/users/me", "no-store"}, {u.client, "/customers", "no-store"}, {u.client, "/bills/7", "no-store"}, {anonymous, "/nowhere", "no-store"}, {u.client, "/products?limit=x", "no-store"},
		{anonymous, strings.TrimPrefix(u.activation, shop.GatewayURL()), "no-store"},
	} {
		a := c.client.call(t, "GET", c.path, nil)
		if got := strings.Join(a.header.Values("Cache-Control"), " and "); got != c.caching {
			t.Errorf("GET %s: Cache-Control %q, want %q", c.path, got, c.caching)
		}
		if got := strings.Join(a.header.Values("X-Content-Type-Options"), " and "); got != "nosniff" {
			t.Errorf("GET %s: X-Content-Type-Options %q", c.path, got)
		}
		if got := a.header.Get("Content-Type"); got != "application/json" && got != "application/problem+json" {
			t.Errorf("GET %s: Content-Type %q", c.path, got)
		}
		for _, name := range []string{"Server", "X-Powered-By", "Via", "Set-Cookie", "Access-Control-Allow-Origin"} {
			if got := a.header.Get(name); got != "" {
				t.Errorf("GET %s: %s: %s", c.path, name, got)
			}
		}
	}
	tag := u.call(t, "GET", product, nil).header.Get("ETag")
	if a := u.call(t, "GET", product, nil, "If-None-Match", tag); a.status != 304 || a.header.Get("Cache-Control") != "private, no-cache" {
		t.Errorf("%d %v", a.status, a.header)
	}
	for _, method := range []string{"TRACE", "TRACK", "DEBUG", "PROPFIND"} {
		u.want(t, 405, "method_not_allowed", method, "/bills", nil)
	}
}

// Input that two parsers could split into requests differently is refused, so that
// no request can be smuggled past the gateway to a service.
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	t.Parallel()
	const hidden = "GET /users/me HTTP/1.1\r\nHost: shop\r\n\r\n"
	for name, header := range map[string]string{
		"two lengths":              "Content-Length: 2\r\nContent-Length: 60\r\n",
		"a list of lengths":        "Content-Length: 2, 60\r\n",
		"a length with a sign":     "Content-Length: +2\r\n",
		"an unknown encoding":      "Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n",
		"two encodings":            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
		"a space before the colon": "Transfer-Encoding : chunked\r\nContent-Length: 2\r\n",
		"a bare line feed":         "X: y\nTransfer-Encoding: chunked\x00\r\nContent-Length: 2\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(shop.GatewayURL(), "http://"))
		must(t, err)
		defer conn.Close()
		must(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err = fmt.Fprintf(conn, "POST /auth/login HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n%s\r\n{}%s", header, hidden)
		must(t, err)
		text, err := io.ReadAll(conn) // to the end: the connection is closed
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", name, err)
		}
		if status, _, _ := strings.Cut(string(text), "\r\n"); !strings.HasPrefix(status, "HTTP/1.1 400") && !strings.HasPrefix(status, "HTTP/1.1 501") || strings.Count(string(text), "HTTP/1.1 ") != 1 {
			t.Errorf("%s: %q", name, text)
		}
	}
}
