package httpserver_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/access"
	"lavka/libs/service/bytelimit"
	"lavka/libs/service/httpserver"
	"lavka/libs/service/token"
	"lavka/libs/testkit/waittest"
)

// held returns what the metrics say about the bytes held for requests or responses.
func held(t *testing.T, registry prometheus.Gatherer, kind string) (now float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "http_server_held_bytes" {
			for _, m := range f.GetMetric() {
				if m.GetLabel()[0].GetValue() == kind {
					return m.GetGauge().GetValue()
				}
			}
		}
	}
	t.Fatalf("no metric for %s", kind)
	return 0
}

// Clients that send most of a large body and then nothing fill the memory that they
// may, and not more. Others, with small bodies, do not notice.
func TestBodiesUnderWayAreBounded(t *testing.T) {
	t.Parallel()
	e, registry, _ := service(t)
	r := serve(t, e, func(context.Context) error { return nil })
	addr := strings.TrimPrefix(r.public, "http://")
	const size, clients = 60_000, 120
	for range clients {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := fmt.Fprintf(c, "POST /things HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat(" ", size-1)); err != nil {
			t.Fatal(err)
		}
	}
	const share = 32 << 20 / 8 // of one address
	waittest.Eventually(t, "one address has used up its share", func() bool { return held(t, registry, "bodies") > share-size })
	if n := held(t, registry, "bodies"); n > share || clients*(size-bytelimit.Free) < share {
		t.Errorf("%d clients hold %.0f bytes", clients, n)
	}
	post := func(body string) (int, string) {
		resp, err := http.Post(r.public+"/things", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == 503 && resp.Header.Get("Retry-After") == "" {
			t.Errorf("%v", resp.Header)
		}
		return resp.StatusCode, string(text)
	}
	if status, text := post(`{"name":"` + strings.Repeat("x", size) + `"}`); status != 503 || !strings.Contains(text, `"overloaded"`) {
		t.Errorf("one more large body: %d %s", status, text)
	}
	if status, text := post(`{"name":"tea"}`); status != 201 {
		t.Errorf("a small body: %d %s", status, text)
	}
}

// Every GET operation of a contract that needs a token has a claim, which ends with
// the response. No other has one: it must not be refused after it has taken effect.
func TestReadsHaveAClaim(t *testing.T) {
	t.Parallel()
	const contract = `{openapi: 3.1.0, info: {title: x, version: '1'}, paths: {/things: {get: {operationId: listThings, security: [{bearer: [user]}], responses: {}},
		post: {operationId: createThing, security: [{bearer: [user]}], responses: {}}}, /open: {get: {operationId: getOpen, responses: {}}}}}`
	registry := httpserver.NewRegistry()
	e, operations, err := httpserver.NewAPI(httpserver.API{
		Service: "test", Contract: []byte(contract), Guard: access.NewGuard(nil, nil), Registry: registry, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := operations["getOpen"]; ok || len(operations) != 2 {
		t.Errorf("%d operations need a token, want 2", len(operations))
	}
	claims := map[string]bool{}
	handler := func(c echo.Context) error {
		claim := bytelimit.From(c.Request().Context())
		claims[c.Request().Method] = claim != nil
		if err := claim.Grow(1 << 20); err != nil {
			return err
		}
		if n := held(t, registry, "responses"); claim != nil && n != 1<<20-bytelimit.Free {
			t.Errorf("%.0f bytes are held", n)
		}
		return claim.Grow(64 << 20)
	}
	known := func(next echo.HandlerFunc) echo.HandlerFunc { // instead of the check of the token
		return func(c echo.Context) error {
			c.SetRequest(c.Request().WithContext(access.With(c.Request().Context(), token.Identity{UserID: 7})))
			return next(c)
		}
	}
	e.GET("/things", handler, append([]echo.MiddlewareFunc{known}, operations["listThings"][1:]...)...)
	e.POST("/things", handler, append([]echo.MiddlewareFunc{known}, operations["createThing"][1:]...)...)
	if w, code := do(e, "GET", "/things", "", nil); w.Code != 503 || code != "overloaded" || w.Header().Get("Retry-After") != "1" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	do(e, "POST", "/things", "", nil)
	if !claims["GET"] || claims["POST"] {
		t.Errorf("claims: %v", claims)
	}
	if n := held(t, registry, "responses"); n != 0 {
		t.Errorf("%.0f bytes are held after the response", n)
	}
}
