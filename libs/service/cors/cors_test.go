package cors_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"lavka/libs/service/cors"
)

const (
	page  = "https://front.example"
	other = "https://evil.example"
)

// Items that are not origins are left out, with a warning, and the others have effect.
func TestValid(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"": nil, " , ": nil,
		page:                                   {page},
		page + ",http://127.0.0.1:3000":        {page, "http://127.0.0.1:3000"},
		page + "  http://[::1]:3000\thttp://a": {page, "http://[::1]:3000", "http://a"},
	} {
		if o, log := valid(t, text); !slices.Equal(o, want) || log != "" {
			t.Errorf("%q: %v, %s", text, o, log)
		}
	}
	for _, text := range []string{
		"*", "null", "front.example", "https://", "https://:443", "https://*.example", "https://front.example/", "https://front.example/x", "https://front.example?x", "https://front.example#x",
		"https://user@front.example", "HTTPS://front.example", "https://Front.example", "https://front.example:443", "http://front.example:80", "https://front.example:", "ftp://front.example", page + ",*",
	} {
		o, log := valid(t, "http://a,"+text)
		if !slices.Equal(o, []string{"http://a"}) && !slices.Equal(o, []string{"http://a", page}) || !strings.Contains(log, "WARN") || strings.Count(log, "\n") != 1 {
			t.Errorf("%q: %v, %s", text, o, log)
		}
	}
}

func valid(t *testing.T, text string) (o cors.Origins, log string) {
	t.Helper()
	var written bytes.Buffer
	if err := o.Decode(text); err != nil {
		t.Fatal(err)
	}
	o = o.Valid(t.Context(), slog.New(slog.NewTextHandler(&written, nil)))
	return o, written.String()
}

// Every response of the handler has the headers once, whatever the handler does.
func TestHandler(t *testing.T) {
	t.Parallel()
	o := cors.Origins{page, "http://127.0.0.1:3000"}
	called := 0
	h := o.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		called++
		w.Header().Add("Vary", "Accept")
		w.WriteHeader(http.StatusTeapot)
	}))
	for name, c := range map[string]struct {
		method, path string
		origins      []string
		asks         string // Access-Control-Request-Method
		allowed      string
		vary         string
		status       int
	}{
		"a page":                       {"POST", "/purchases", []string{page}, "", page, "Origin, Accept", 418},
		"another page":                 {"GET", "/products", []string{"http://127.0.0.1:3000"}, "", "http://127.0.0.1:3000", "Origin, Accept", 418},
		"no page":                      {"GET", "/products", nil, "", "", "Origin, Accept", 418},
		"a page that is not known":     {"GET", "/products", []string{other}, "", "", "Origin, Accept", 418},
		"null":                         {"GET", "/products", []string{"null"}, "", "", "Origin, Accept", 418},
		"two origins":                  {"GET", "/products", []string{page, page}, "", "", "Origin, Accept", 418},
		"two origins in one":           {"GET", "/products", []string{page + "," + page}, "", "", "Origin, Accept", 418},
		"a part of an origin":          {"GET", "/products", []string{page + ".evil.example"}, "", "", "Origin, Accept", 418},
		"in capitals":                  {"GET", "/products", []string{strings.ToUpper(page)}, "", "", "Origin, Accept", 418},
		"the provider's path":          {"POST", "/payment/webhook", []string{page}, "", "", "Accept", 418},
		"a preflight":                  {"OPTIONS", "/purchases", []string{page}, "POST", page, "Origin", 204},
		"a preflight of no route":      {"OPTIONS", "/nowhere", []string{page}, "PUT", page, "Origin", 204},
		"a preflight of a stranger":    {"OPTIONS", "/purchases", []string{other}, "POST", "", "Origin, Accept", 418},
		"a preflight for the provider": {"OPTIONS", "/payment/webhook", []string{page}, "POST", "", "Accept", 418},
		"OPTIONS":                      {"OPTIONS", "/purchases", []string{page}, "", page, "Origin, Accept", 418},
	} {
		before := called
		r := httptest.NewRequest(c.method, c.path, nil)
		r.Header["Origin"] = c.origins
		if c.asks != "" {
			r.Header.Set("Access-Control-Request-Method", c.asks)
			r.Header.Set("Access-Control-Request-Headers", "authorization,idempotency-key")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		got := w.Result().Header
		if w.Code != c.status || strings.Join(got["Access-Control-Allow-Origin"], "+") != c.allowed || strings.Join(got["Vary"], ", ") != c.vary || got["Access-Control-Allow-Credentials"] != nil {
			t.Errorf("%s: %d %v", name, w.Code, got)
		}
		if preflight := c.status == 204; preflight != (called == before) || preflight != (got.Get("Access-Control-Max-Age") == "600") ||
			preflight && (!strings.Contains(got.Get("Access-Control-Allow-Headers"), "Idempotency-Key") || !strings.Contains(got.Get("Access-Control-Allow-Methods"), "PATCH")) {
			t.Errorf("%s: %v", name, got)
		}
		if exposed := got.Get("Access-Control-Expose-Headers"); (exposed == "Location, ETag, Retry-After, Idempotent-Replayed, WWW-Authenticate") != (c.allowed != "") {
			t.Errorf("%s: %q is exposed", name, exposed)
		}
	}
}

// Without origins, nothing changes.
func TestNoOrigins(t *testing.T) {
	t.Parallel()
	h := cors.Origins(nil).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, method := range []string{"GET", "OPTIONS"} {
		r := httptest.NewRequest(method, "/products", nil)
		r.Header.Set("Origin", page)
		r.Header.Set("Access-Control-Request-Method", "GET")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Result().Header; len(got) != 0 {
			t.Errorf("%s: %v", method, got)
		}
	}
}
