package httpserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/problem"
	"lavka/libs/service/httpproblem"
	"lavka/libs/service/httpserver"
)

// service is an echo with a route for each thing that can happen, and its log.
func service(t *testing.T, trusted ...string) (*echo.Echo, *prometheus.Registry, *bytes.Buffer) {
	t.Helper()
	var prefixes []netip.Prefix
	for _, p := range trusted {
		prefixes = append(prefixes, netip.MustParsePrefix(p))
	}
	var log bytes.Buffer
	registry := httpserver.NewRegistry()
	e := httpserver.New(slog.New(slog.NewTextHandler(&log, nil)), prefixes, registry)
	e.GET("/things/:id", func(c echo.Context) error { return c.JSON(http.StatusOK, map[string]string{"id": c.Param("id")}) })
	e.POST("/things", func(c echo.Context) error {
		var body struct {
			Name string `json:"name"`
		}
		if err := c.Bind(&body); err != nil {
			return err
		}
		return c.JSON(http.StatusCreated, body)
	})
	e.POST("/raw", func(c echo.Context) error {
		body, err := httpserver.ReadBody(c, 16)
		if err != nil {
			return err
		}
		return c.Blob(http.StatusOK, "application/octet-stream", body)
	})
	e.GET("/panic", func(echo.Context) error { panic("the password is hunter2") })
	e.GET("/broken", func(echo.Context) error { return errors.New("the password is hunter2") })
	e.GET("/refused", func(echo.Context) error {
		return problem.New(problem.Unavailable, "overloaded", "later").Retry(2 * time.Second).Because(errors.New("the queue is full"))
	})
	e.GET("/address", func(c echo.Context) error { return c.String(http.StatusOK, c.RealIP()) })
	return e, registry, &log
}

func do(e http.Handler, method, target, contentType string, body io.Reader) (*httptest.ResponseRecorder, string) {
	r := httptest.NewRequest(method, target, body)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	var p struct {
		Code string `json:"code"`
	}
	// What is no JSON has no code.
	_ = json.Unmarshal(w.Body.Bytes(), &p)
	return w, p.Code
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	e, _, _ := service(t)
	const js = "application/json"
	large := `{"name":"` + strings.Repeat("x", httpserver.MaxBody) + `"}`
	for name, c := range map[string]struct {
		method, target, contentType string
		body                        io.Reader
		status                      int
		code                        string
	}{
		"found":                      {"GET", "/things/7", "", nil, 200, ""},
		"unknown route":              {"GET", "/nothing", "", nil, 404, "not_found"},
		"no trailing slash":          {"GET", "/things/7/", "", nil, 404, "not_found"},
		"wrong method":               {"DELETE", "/things/7", "", nil, 405, "method_not_allowed"},
		"made up method":             {"BREW", "/things/7", "", nil, 405, "method_not_allowed"},
		"created":                    {"POST", "/things", js, strings.NewReader(`{"name":"tea"}`), 201, ""},
		"charset":                    {"POST", "/things", js + "; charset=UTF-8", strings.NewReader(`{"name":"tea"}`), 201, ""},
		"another charset":            {"POST", "/things", js + "; charset=latin1", strings.NewReader(`{"name":"tea"}`), 415, "unsupported_media_type"},
		"no content type":            {"POST", "/things", "", strings.NewReader(`{"name":"tea"}`), 415, "unsupported_media_type"},
		"text":                       {"POST", "/things", "text/plain", strings.NewReader(`{"name":"tea"}`), 415, "unsupported_media_type"},
		"a form":                     {"POST", "/things", "application/x-www-form-urlencoded", strings.NewReader(`name=tea`), 415, "unsupported_media_type"},
		"no content type at all":     {"POST", "/things", ";", strings.NewReader(`{}`), 415, "unsupported_media_type"},
		"no body":                    {"POST", "/things", js, nil, 400, "malformed"},
		"unknown member":             {"POST", "/things", js, strings.NewReader(`{"name":"tea","x":1}`), 400, "malformed"},
		"other case":                 {"POST", "/things", js, strings.NewReader(`{"Name":"tea"}`), 400, "malformed"},
		"trailing":                   {"POST", "/things", js, strings.NewReader(`{"name":"tea"}x`), 400, "malformed"},
		"too large":                  {"POST", "/things", js, strings.NewReader(large), 413, "body_too_large"},
		"too large, unannounced":     {"POST", "/things", js, io.MultiReader(strings.NewReader(large)), 413, "body_too_large"},
		"raw":                        {"POST", "/raw", "any/thing", strings.NewReader("0123456789abcdef"), 200, ""},
		"raw too large":              {"POST", "/raw", "", strings.NewReader("0123456789abcdefg"), 413, "body_too_large"},
		"raw too large, unannounced": {"POST", "/raw", "", io.MultiReader(strings.NewReader("0123456789abcdefg")), 413, "body_too_large"},
		"zero in the path":           {"GET", "/things/a%00b", "", nil, 400, "malformed"},
		"zero in the query":          {"GET", "/things/7?q=%00", "", nil, 400, "malformed"},
		"no UTF-8 in the path":       {"GET", "/things/%ff", "", nil, 400, "malformed"},
		"no UTF-8 in the query":      {"GET", "/things/7?q=%ff", "", nil, 400, "malformed"},
		"badly escaped query":        {"GET", "/things/7?q=%zz", "", nil, 400, "malformed"},
		"zero in a name":             {"GET", "/things/7?%00=1", "", nil, 400, "malformed"},
		"a semicolon in the query":   {"GET", "/things/7?status=disabled;limit=1", "", nil, 400, "malformed"},
		"an escaped semicolon":       {"GET", "/things/7?q=a%3Bb", "", nil, 200, ""},
		"null":                       {"POST", "/things", js, strings.NewReader(`{"name":null}`), 400, "malformed"},
		"panic":                      {"GET", "/panic", "", nil, 500, "internal"},
		"unknown error":              {"GET", "/broken", "", nil, 500, "internal"},
		"refused":                    {"GET", "/refused", "", nil, 503, "overloaded"},
	} {
		w, code := do(e, c.method, c.target, c.contentType, c.body)
		if w.Code != c.status || code != c.code {
			t.Errorf("%s: %d %q, want %d %q: %s", name, w.Code, code, c.status, c.code, w.Body)
		}
		if code != "" && w.Header().Get("Content-Type") != httpproblem.ContentType {
			t.Errorf("%s: %v", name, w.Header())
		}
		if strings.Contains(w.Body.String(), "hunter2") {
			t.Errorf("%s: the answer tells too much: %s", name, w.Body)
		}
	}
}

func TestHeadersOfProblems(t *testing.T) {
	t.Parallel()
	e, _, _ := service(t)
	w, _ := do(e, "POST", "/things/7", "", nil)
	if allow := w.Header().Get("Allow"); !strings.Contains(allow, "GET") || !strings.Contains(allow, "HEAD") {
		t.Errorf("Allow: %q", allow)
	}
	if w, _ = do(e, "GET", "/raw", "", nil); !strings.Contains(w.Header().Get("Allow"), "POST") || strings.Contains(w.Header().Get("Allow"), "HEAD") {
		t.Errorf("Allow: %q", w.Header().Get("Allow"))
	}
	if w, _ = do(e, "GET", "/refused", "", nil); w.Header().Get("Retry-After") != "2" {
		t.Errorf("%v", w.Header())
	}
	if w, _ = do(e, "OPTIONS", "/things/7", "", nil); w.Code != 204 || w.Header().Get("Allow") != "OPTIONS, GET, HEAD" {
		t.Errorf("OPTIONS: %d, Allow: %q", w.Code, w.Header().Get("Allow"))
	}
}

// A list may come in several lines; what stands for one thing may not.
func TestLinesOfAHeader(t *testing.T) {
	t.Parallel()
	e, _, _ := service(t)
	e.GET("/headers", func(c echo.Context) error {
		return c.String(http.StatusOK, strings.Join(c.Request().Header["If-None-Match"], "|")+" "+strings.Join(c.Request().Header["If-Match"], "|")+" "+strings.Join(c.Request().Header["Prefer"], "|"))
	})
	e.GET("/once", func(echo.Context) error {
		return echo.NewHTTPError(http.StatusBadRequest, "Expected one value for Idempotency-Key, got 2")
	})
	r := httptest.NewRequest("GET", "/headers", nil)
	r.Header["If-None-Match"] = []string{`"a"`, `"b", "c"`}
	r.Header["If-Match"] = []string{`"d"`}
	r.Header["Prefer"] = []string{"respond-async", "wait=5"}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	if got := w.Body.String(); got != `"a", "b", "c" "d" respond-async, wait=5` {
		t.Errorf("handlers see %s", got)
	}
	if w, _ := do(e, "GET", "/once", "", nil); w.Code != 400 || !strings.Contains(w.Body.String(), "Idempotency-Key must be given exactly once") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A client that disconnects must page no one: it is no 5xx in metrics, and no error in the log.
func TestADisconnectedClientIsNoServerError(t *testing.T) {
	t.Parallel()
	e, registry, log := service(t)
	here := make(chan struct{})
	e.GET("/slow", func(c echo.Context) error {
		close(here)
		<-c.Request().Context().Done()
		return problem.New(problem.Unavailable, "unavailable", "later").Because(c.Request().Context().Err())
	})
	e.GET("/refuses", func(c echo.Context) error { // for a reason of its own
		return problem.New(problem.Conflict, "taken", "taken")
	})
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-here
		leave()
	}()
	for _, target := range []string{"/slow", "/refuses"} {
		e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", target, nil))
	}
	for _, want := range []string{"status=499", "code=client_gone", "status=409", "code=taken"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, log)
		}
	}
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("an error in the log:\n%s", log)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.Contains(f.String(), `value:"503"`) {
			t.Errorf("metrics count a fault: %s", f)
		}
	}
}

// The path of an activation link is a secret: only the route is written.
func TestLogAndMetricsNameOnlyRoutes(t *testing.T) {
	t.Parallel()
	e, registry, log := service(t)
	for _, target := range []string{"/things/secret7", "/unknown/secret7", "/things/secret7/", "/panic?x=secret7"} {
		do(e, "GET", target, "", nil)
	}
	do(e, "SECRET7", "/things/secret7", "", nil)
	if strings.Contains(log.String(), "secret7") || strings.Count(log.String(), "msg=request") != 5 {
		t.Errorf("log:\n%s", log)
	}
	if !strings.Contains(log.String(), "hunter2") || !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the panic is not in the log:\n%s", log)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range families {
		text := strings.ToLower(f.String())
		if strings.Contains(text, "secret7") {
			t.Errorf("metrics: %s", text)
		}
		found = found || strings.Contains(text, `"/things/:id"`)
	}
	if !found {
		t.Error("no metric names the route")
	}
}

// The table of cases is in libs/service/proxies.
func TestClientAddress(t *testing.T) {
	t.Parallel()
	for forwarded, want := range map[string]struct {
		address string
		counted float64
	}{
		"203.0.113.9, 198.51.100.7:55123": {"198.51.100.7", 0},
		"198.51.100.7, unknown":           {"192.0.2.1", 1},
	} {
		e, registry, log := service(t, "192.0.2.0/24")
		r := httptest.NewRequest("GET", "/address", nil) // from 192.0.2.1
		r.Header.Set("X-Forwarded-For", forwarded)
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		if got := w.Body.String(); got != want.address {
			t.Errorf("%s: %s, want %s", forwarded, got, want.address)
		}
		unknown := want.counted == 1
		if got := strings.Contains(log.String(), "which client it serves"); got != unknown {
			t.Errorf("%s: warned %v", forwarded, got)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() == "http_server_clients_unknown_total" && family.GetMetric()[0].GetCounter().GetValue() != want.counted {
				t.Errorf("%s: not counted %v times", forwarded, want.counted)
			}
		}
	}
}

// Whatever the answer is, it is data for the one who asked.
func TestAnswersAreSealed(t *testing.T) {
	t.Parallel()
	e, _, _ := service(t)
	for _, target := range []string{"/things/1", "/nowhere", "/panic", "/refused", "/things/%00"} {
		w, _ := do(e, "GET", target, "", nil)
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Server": "", "X-Powered-By": "",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("GET %s: %s is %q, want %q", target, name, got, want)
			}
		}
	}
}

// A proxy that adds a header, or a body that it compressed, is told so.
func TestBodiesThatWereChangedOnTheWay(t *testing.T) {
	t.Parallel()
	e, _, _ := service(t)
	for name, c := range map[string]struct {
		header http.Header
		status int
		detail string
	}{
		"as it is":          {http.Header{"Content-Type": {"application/json"}}, 201, ""},
		"identity":          {http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"Identity"}}, 201, ""},
		"compressed":        {http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, 415, "Content-Encoding"},
		"two content types": {http.Header{"Content-Type": {"application/json", "text/plain"}}, 415, "Content-Type"},
	} {
		r := httptest.NewRequest("POST", "/things", strings.NewReader(`{"name":"tea"}`))
		r.Header = c.header
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.detail) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
