package e2e

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"lavka/deploy/local/stack"
	"lavka/libs/service/cors"
)

const (
	page     = "https://front.example"
	stranger = "https://evil.example"
)

// wantPage fails unless a page of an origin may read a response as it should: there is
// exactly one of each header, on every response but the payment provider's.
func wantPage(t *testing.T, what string, h http.Header, origin string, readable bool) {
	t.Helper()
	allowed, exposed := []string(nil), []string(nil)
	if readable && origin == page {
		allowed, exposed = []string{page}, []string{"Location, ETag, Retry-After, Idempotent-Replayed, WWW-Authenticate"}
	}
	if got := h["Access-Control-Allow-Origin"]; !slices.Equal(got, allowed) {
		t.Errorf("%s: Access-Control-Allow-Origin %q, want %q", what, got, allowed)
	}
	if got := h["Access-Control-Expose-Headers"]; !slices.Equal(got, exposed) {
		t.Errorf("%s: Access-Control-Expose-Headers %q, want %q", what, got, exposed)
	}
	vary := 0
	for name := range strings.SplitSeq(strings.Join(h["Vary"], ","), ",") {
		if strings.TrimSpace(name) == "Origin" {
			vary++
		}
	}
	if (vary == 1) != readable || vary > 1 {
		t.Errorf("%s: Vary %q", what, h["Vary"])
	}
	if h["Access-Control-Allow-Credentials"] != nil {
		t.Errorf("%s: credentials are allowed", what)
	}
}

// A page of a listed origin can read every response of the services and of the gateway,
// whatever became of the request. Another page, and responses to the payment provider,
// have no such header.
func TestPagesReadEveryAnswer(t *testing.T) {
	t.Parallel()
	s := startShop(t, func(c *stack.Config) { c.CORSOrigins = cors.Origins{"http://127.0.0.1:3000", page} })
	u := s.newUser(t)
	gateway := s.GatewayURL()
	at := map[string]string{} // each service's own port
	for _, service := range stack.Services() {
		at[service] = s.Replicas(service)[0].URL()
	}
	type request struct {
		what, base, method, path, token string
		body                            []byte
	}
	var all []request
	ids := strings.NewReplacer("/purchases/{id}", "/purchases/01976b1e-0000-7000-8000-000000000001", "/sessions/{id}", "/sessions/01976b1e-0000-4000-8000-000000000001",
		"{id}", "999999999999", "{user_id}", "999999999999", "{token}", "nobodys", "{transaction_id}", "999999999999")
	for _, op := range checker.Operations() {
		for _, base := range []string{gateway, at[op.Service]} {
			for _, token := range []string{"", "x", u.token} {
				r := request{op.ID, base, op.Method, ids.Replace(op.Path), token, nil}
				if op.Method != "GET" && op.Method != "DELETE" {
					r.body = []byte("{}")
				}
				all = append(all, r)
			}
		}
	}
	large := func(n int) []byte { return append(bytes.Repeat([]byte(" "), n), "{}"...) }
	for _, base := range []string{gateway, at[stack.Auth], at[stack.Catalog], at[stack.Billing]} {
		all = append(all,
			request{"no route", base, "GET", "/nowhere", "", nil}, request{"a wrong method", base, "PUT", "/users/1", "", nil}, request{"a strange method", base, "TRACE", "/bills", "", nil},
			request{"OPTIONS", base, "OPTIONS", "/bills", "", nil}, request{"a parameter", base, "GET", "/products?q=%00", u.token, nil}, request{"HEAD", base, "HEAD", "/products", u.token, nil},
			request{"a body", base, "POST", "/auth/login", "", []byte("{")}, request{"a large body", base, "POST", "/auth/login", "", large(70_000)}, request{"a larger body", base, "POST", "/auth/login", "", large(200_000)},
			request{"the provider's large body", base, "POST", "/payment/webhook", "", large(200_000)}, request{"the provider's method", base, "PUT", "/payment/webhook", "", nil})
	}
	all = append(all, request{"a crooked path", gateway, "GET", "/users/..%2f", "", nil}, request{"the contract", gateway, "GET", "/auth/openapi.json", "", nil}, request{"an export", gateway, "GET", "/purchases", u.token, nil})
	send := func(r request, origin string, headers ...string) *http.Response {
		t.Helper()
		sent, err := http.NewRequestWithContext(t.Context(), r.method, r.base+r.path, bytes.NewReader(r.body))
		must(t, err)
		sent.Header.Set("Origin", origin)
		sent.Header.Set("Content-Type", "application/json")
		if r.token != "" {
			sent.Header.Set("Authorization", "Bearer "+r.token)
		}
		if r.what == "an export" {
			sent.Header.Set("Accept", "text/csv")
		}
		for i := 0; i < len(headers); i += 2 {
			sent.Header.Set(headers[i], headers[i+1])
		}
		resp, err := http.DefaultClient.Do(sent)
		must(t, err)
		resp.Body.Close()
		return resp
	}
	statuses := map[int]int{}
	look := func(r request) {
		t.Helper()
		for _, origin := range []string{page, stranger} {
			resp := send(r, origin)
			statuses[resp.StatusCode]++
			wantPage(t, r.method+" "+r.base+r.path+" ("+r.what+", "+resp.Status+") of "+origin, resp.Header, origin, !strings.HasPrefix(r.path, "/payment/"))
		}
	}
	for _, r := range all {
		look(r)
	}

	// A preflight needs no token and costs no attempt. It is answered also where the
	// request itself will be refused: the page then reads why.
	for i := 0; i < len(all); i += 3 {
		r := all[i]
		r.method, r.body = "OPTIONS", nil
		for _, origin := range []string{page, stranger} {
			resp := send(r, origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type,idempotency-key")
			provider := strings.HasPrefix(r.path, "/payment/")
			wantPage(t, "the preflight of "+r.base+r.path+" of "+origin, resp.Header, origin, !provider)
			h := resp.Header
			if origin != page || provider {
				if h["Access-Control-Allow-Methods"] != nil {
					t.Errorf("the preflight of %s of %s is allowed", r.path, origin)
				}
				continue
			}
			if resp.StatusCode != 204 || h.Get("Access-Control-Allow-Headers") != "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Prefer" ||
				h.Get("Access-Control-Allow-Methods") == "" || h.Get("Access-Control-Max-Age") != "600" {
				t.Errorf("the preflight of %s: %s %v", r.base+r.path, resp.Status, h)
			}
		}
	}
	login := request{"", gateway, "OPTIONS", "/auth/login", "", nil}
	for range 100 {
		send(login, page, "Access-Control-Request-Method", "POST")
	}
	u.logIn(t)

	// A service is down.
	for _, r := range s.Replicas(stack.Catalog) {
		must(t, r.Stop())
	}
	down := request{"a service that is down", gateway, "POST", "/purchases", u.token, []byte("{}")}
	look(down)
	down.method = "OPTIONS"
	if resp := send(down, page, "Access-Control-Request-Method", "POST"); resp.StatusCode != 204 {
		t.Errorf("the preflight of a service that is down: %s", resp.Status)
	}
	for _, want := range []int{200, 400, 401, 403, 404, 405, 413, 422, 503} {
		if statuses[want] == 0 {
			t.Errorf("no response had the status %d: %v", want, statuses)
		}
	}
	t.Logf("responses by status: %v", statuses)
}
