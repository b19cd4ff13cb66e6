package gateway

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lavka/deploy/postgres"
	"lavka/libs/service/cors"
	"lavka/libs/testkit/waittest"
)

// closedAddr returns an address on which nothing listens.
func closedAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// down returns a replica that is not running.
func down(t *testing.T) Replica { return Replica{closedAddr(t), closedAddr(t)} }

// up returns a ready replica.
func up(t *testing.T, h http.HandlerFunc) Replica {
	t.Helper()
	return Replica{listening(t, h), listening(t, func(http.ResponseWriter, *http.Request) {})}
}

func listening(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func echo(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Service", name)
		if _, err := io.Copy(w, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// front starts a gateway and returns its address.
func front(t *testing.T, replicas map[string][]Replica) string {
	t.Helper()
	addr, _ := frontWith(t, replicas, func(*Gateway) {})
	return addr
}

func frontWith(t *testing.T, replicas map[string][]Replica, change func(*Gateway)) (string, *Gateway) {
	t.Helper()
	g := New(Config{Replicas: replicas, MaxConnections: 1000, Log: slog.New(slog.DiscardHandler)})
	change(g)
	return served(t, g), g
}

func served(t *testing.T, g *Gateway) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func allOf(t *testing.T) map[string][]Replica {
	t.Helper()
	all := map[string][]Replica{}
	for _, name := range postgres.Services() {
		all[name] = []Replica{up(t, echo(name))}
	}
	return all
}

// raw sends bytes unchanged, which a normal client would not do, and reads the response.
func raw(t *testing.T, addr, text string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func wantProblem(t *testing.T, resp *http.Response, body string, status int, code string) {
	t.Helper()
	var p struct {
		Type, Code string
		Status     int
		TraceID    string `json:"trace_id"`
	}
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("the body is not JSON: %v: %s", err, body)
	}
	if len(p.TraceID) != 32 {
		t.Errorf("trace_id is %q", p.TraceID)
	}
	if resp.StatusCode != status || p.Status != status || p.Code != code || p.Type != "urn:lavka:problem:"+code || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %s %s, want %d %s", resp.Status, body, status, code)
	}
}

func TestRouting(t *testing.T) {
	t.Parallel()
	addr := front(t, allOf(t))
	for path, want := range map[string]string{
		"/auth/login": "auth", "/auth/activate/x": "auth", "/auth/openapi.json": "auth", "/.well-known/jwks.json": "auth", "/users": "auth", "/users/me": "auth", "/users?status=active": "auth",
		"/products": "catalog", "/products/1": "catalog", "/purchases": "catalog", "/purchases/": "catalog", "/purchases/x": "catalog", "/purchases/x/refunds": "catalog", "/admin/refunds": "catalog", "/catalog/log": "catalog", "/admin/purchases": "catalog", "/catalog/openapi.json": "catalog", "/products/%D1%87%D0%B0%D0%B9": "catalog",
		"/bills": "billing", "/bills/1": "billing", "/transactions": "billing", "/payment/webhook": "billing", "/payment/reversals": "billing", "/admin/reversals": "billing", "/admin/transactions": "billing", "/payment/verify": "billing", "/payment/refused": "billing", "/payment/credits": "billing", "/payment/credits/1": "billing", "/customers": "billing", "/customers/1": "billing", "/billing/openapi.json": "billing",
		"/products?q=a%2Fb//..;x": "catalog",
	} {
		resp, body := raw(t, addr, "GET "+path+" HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
		if got := resp.Header.Get("X-Service"); resp.StatusCode != 200 || got != want {
			t.Errorf("%s went to %q (%s %s), want %s", path, got, resp.Status, body, want)
		}
	}
}

func TestPathsOfNoService(t *testing.T) {
	t.Parallel()
	addr := front(t, allOf(t))
	for _, target := range []string{
		"/", "/nope", "/auth", "/productsx", "/Users", "/metrics", "/readyz", "/livez", "/catalog/metrics", "/transactions/1", "/payment/webhook/", "/payment", "/payment/reversals/1", "/admin", "/admin/reversals/1", "/admin/refunds/1", "/catalog/log/1", "/admin/purchases/1", "/admin/transactions/1",
		"//users", "/users//1", "/auth/../users", "/auth/./login", "/auth/..", "/auth/%2e%2e/metrics", "/auth/%2E%2E/metrics", "/auth%2Flogin", "/auth/..%2fmetrics", "/auth/x%2f..%2f..%2fmetrics",
		"/auth/..%5cmetrics", `/auth/..\metrics`, "/users/;/../../metrics", "*", "http://127.0.0.1:1/metrics", "/.well-known/../metrics",
	} {
		resp, body := raw(t, addr, "GET "+target+" HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
		if target == "*" && resp.StatusCode == 400 {
			continue // net/http itself
		}
		wantProblem(t, resp, body, 404, "not_found")
	}
}

func TestOptionsOfTheServer(t *testing.T) {
	t.Parallel()
	resp, body := raw(t, front(t, allOf(t)), "OPTIONS * HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
	wantProblem(t, resp, body, 404, "not_found")
}

func TestTheRequestThatAServiceGets(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	addr := front(t, map[string][]Replica{"catalog": {up(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r })}})
	raw(t, addr, "GET /products/a%20b?q=%zz&x=;&limit=1 HTTP/1.1\r\nHost: shop.example\r\nConnection: close, X-Secret-Hop\r\nX-Secret-Hop: 1\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-host: evil\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Whatever: 1\r\n"+
		"Forwarded: for=6.6.6.6\r\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: a=b\r\nAuthorization: Bearer x\r\nIdempotency-Key: k\r\nUpgrade: websocket\r\n\r\n")
	r := <-seen
	if r.Host != "shop.example" || r.RequestURI != "/products/a%20b?q=%zz&x=;&limit=1" {
		t.Errorf("host %q, URI %q", r.Host, r.RequestURI)
	}
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "", "X-Forwarded-Proto": "", "X-Forwarded-Whatever": "", "Forwarded": "", "X-Secret-Hop": "", "Connection": "", "Upgrade": "", "Accept-Encoding": "", "User-Agent": "",
		"Traceparent": "", "Tracestate": "", "Authorization": "Bearer x", "Idempotency-Key": "k",
	} {
		if got := strings.Join(r.Header.Values(name), ","); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestTrustedClientsBringTheirTrace(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	catalog := up(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r })
	addr := served(t, New(Config{Replicas: map[string][]Replica{"catalog": {catalog}}, MaxConnections: 10, TrustTraceparent: true, Log: slog.New(slog.DiscardHandler)}))
	const theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	raw(t, addr, "GET /products HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\nTRACEPARENT: "+theirs+"\r\ntracestate: a=b\r\n\r\n")
	if r := <-seen; r.Header.Get("Traceparent") != theirs || r.Header.Get("Tracestate") != "a=b" {
		t.Errorf("%v", r.Header)
	}
}

func TestServiceDown(t *testing.T) {
	t.Parallel()
	addr := front(t, map[string][]Replica{"billing": {down(t), down(t)}})
	for _, path := range []string{"/bills", "/users"} {
		resp, body := raw(t, addr, "POST "+path+" HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
		wantProblem(t, resp, body, 503, "service_unavailable")
		if resp.Header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After is %q", resp.Header.Get("Retry-After"))
		}
	}
}

// A purchase that may have arrived is never sent twice.
func TestBrokenAnswer(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"POST", "PATCH", "DELETE"} {
		var hits atomic.Int32
		cut := func(w http.ResponseWriter, r *http.Request) {
			hits.Add(1)
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				conn.Close()
			}
		}
		addr := front(t, map[string][]Replica{"catalog": {up(t, cut), up(t, cut)}})
		resp, body := raw(t, addr, method+" /purchases HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nIdempotency-Key: k\r\nContent-Length: 2\r\n\r\n{}")
		wantProblem(t, resp, body, 502, "bad_gateway")
		if hits.Load() != 1 {
			t.Errorf("%s arrived %d times", method, hits.Load())
		}
	}
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	a, b := up(t, echo("a")), up(t, echo("b"))
	addr := front(t, map[string][]Replica{"catalog": {a, down(t), b}})
	count := map[string]int{}
	for range 60 {
		resp, body := raw(t, addr, "POST /purchases HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
		if resp.StatusCode != 200 || body != "body" {
			t.Fatalf("%s %q", resp.Status, body)
		}
		count[resp.Header.Get("X-Service")]++
	}
	if count["a"] < 15 || count["b"] < 15 {
		t.Errorf("replicas got %v", count)
	}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	addr := front(t, allOf(t))
	resp, body := raw(t, addr, fmt.Sprintf("POST /purchases HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", MaxBody+1))
	wantProblem(t, resp, body, 413, "body_too_large")

	chunk := strings.Repeat("x", MaxBody/4)
	var text strings.Builder
	text.WriteString("POST /purchases HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
	for range 5 {
		fmt.Fprintf(&text, "%x\r\n%s\r\n", len(chunk), chunk)
	}
	resp, body = raw(t, addr, text.String()+"0\r\n\r\n")
	wantProblem(t, resp, body, 413, "body_too_large")

	resp, body = raw(t, addr, "POST /purchases HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
	wantProblem(t, resp, body, 400, "malformed")
}

// One route takes larger bodies.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	addr := front(t, allOf(t))
	for path, limit := range LargeBodies() {
		for n, want := range map[int64]int{limit: 200, limit + 1: 413} {
			text := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", path, n)
			if n <= limit {
				text += strings.Repeat("x", int(n))
			}
			if resp, body := raw(t, addr, text); resp.StatusCode != want {
				t.Errorf("%s of %d bytes: %s %s", path, n, resp.Status, body)
			}
		}
	}
}

// A client that stalls within its body gets a response, and the service that waits for the rest gets no more of it.
func TestStalledBody(t *testing.T) {
	t.Parallel()
	addr, _ := frontWith(t, allOf(t), func(g *Gateway) { g.server.ReadTimeout = 50 * time.Millisecond })
	for range 8 { // whether the reader of the body or the one that waits for the response notices first is a matter of chance
		for _, begin := range []string{"Content-Length: 10\r\n\r\n{}", "Content-Length: 10\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"} {
			resp, body := raw(t, addr, "POST /purchases HTTP/1.1\r\nHost: shop\r\n"+begin)
			wantProblem(t, resp, body, 400, "malformed")
		}
	}
}

func TestHeaderLimit(t *testing.T) {
	t.Parallel()
	addr := front(t, allOf(t))
	resp, _ := raw(t, addr, "GET /products HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nX-Long: "+strings.Repeat("x", 17<<10)+"\r\n\r\n")
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%s", resp.Status)
	}
}

// A response is passed on as it is written, not only when it is complete.
func TestAnswerIsNotHeldBack(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	addr := front(t, map[string][]Replica{"catalog": {up(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-release
	})}})
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.Get("http://" + addr + "/products")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "first" {
		t.Errorf("%q, %v", buf, err)
	}
	close(release)
}

// The gateway's own responses can be read by pages of listed origins, and those of the services have the headers that the services set.
func TestPagesReadRefusals(t *testing.T) {
	t.Parallel()
	const page = "https://front.example"
	service := up(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "set by the service")
		w.Header().Set("Vary", "Origin")
	})
	broken := up(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	g := New(Config{Replicas: map[string][]Replica{"auth": {service}, "billing": {broken}}, MaxConnections: 4, CORSOrigins: cors.Origins{page}, Log: slog.New(slog.DiscardHandler)})
	addr := served(t, g)
	for what, c := range map[string]struct {
		request string
		status  int
		allowed string
	}{
		"passed on":    {"GET /users", 200, "set by the service"},
		"no route":     {"GET /nowhere", 404, page},
		"crooked":      {"GET /users/..%2f", 404, page},
		"no replica":   {"GET /products", 503, page},
		"broken":       {"POST /bills", 502, page},
		"too large":    {"POST /users HTTP/1.1\r\nContent-Length: 100000000\r\nX:", 413, page},
		"the provider": {"POST /payment/webhook", 502, ""},
		"a preflight":  {"OPTIONS /products HTTP/1.1\r\nAccess-Control-Request-Method: POST\r\nX:", 204, page},
	} {
		resp, _ := raw(t, addr, c.request+" HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nOrigin: "+page+"\r\n\r\n")
		vary := ""
		if c.allowed != "" {
			vary = "Origin"
		}
		if resp.StatusCode != c.status || strings.Join(resp.Header["Access-Control-Allow-Origin"], " and ") != c.allowed || strings.Join(resp.Header["Vary"], " and ") != vary {
			t.Errorf("%s: %s %v", what, resp.Status, resp.Header)
		}
	}
	// Beyond the limit of connections. Those from above may still count for a moment, after their clients have seen them close.
	for range 4 {
		waittest.Eventually(t, "a connection within the limit", func() bool {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			if _, err := io.WriteString(c, "GET /users HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			return resp.StatusCode == http.StatusOK
		})
	}
	for request, status := range map[string]int{"GET /users HTTP/1.1": 503, "OPTIONS /users HTTP/1.1\r\nAccess-Control-Request-Method: GET": 204} {
		resp, _ := raw(t, addr, request+"\r\nHost: shop\r\nOrigin: "+page+"\r\n\r\n")
		if resp.StatusCode != status || resp.Header.Get("Access-Control-Allow-Origin") != page || !resp.Close {
			t.Errorf("beyond the limit: %s %v", resp.Status, resp.Header)
		}
	}
}
