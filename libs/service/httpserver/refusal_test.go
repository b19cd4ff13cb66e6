package httpserver_test

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"lavka/libs/domain/problem"
	"lavka/libs/service/cors"
	"lavka/libs/service/httpserver"
)

// What is made once says the same as what is made each time.
func TestRefusalIsLikeAnyOther(t *testing.T) {
	t.Parallel()
	p := problem.New(problem.Unavailable, "overloaded", "later").Retry(2 * time.Second)
	e, _, _ := service(t)
	e.GET("/full", func(echo.Context) error { return p })
	refusal := httpserver.NewRefusal(p)
	answer := func(h http.Handler) (header http.Header, body map[string]any) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/full", nil))
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 503 {
			t.Fatalf("%d %v %s", w.Code, err, w.Body)
		}
		return w.Header(), body
	}
	header, body := answer(e)
	gotHeader, gotBody := answer(refusal)
	if !maps.EqualFunc(header, gotHeader, slices.Equal) {
		t.Errorf("headers %v, want %v", gotHeader, header)
	}
	traceID, _ := gotBody["trace_id"].(string)
	delete(body, "trace_id")
	delete(gotBody, "trace_id")
	if !maps.Equal(body, gotBody) {
		t.Errorf("body %v, want %v", gotBody, body)
	}
	_, again := answer(refusal)
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(traceID) || again["trace_id"] == traceID {
		t.Errorf("trace ids %q, %v", traceID, again["trace_id"])
	}
}

// A page of a listed origin can read a refusal at the door, too.
func TestPagesReadRefusals(t *testing.T) {
	t.Parallel()
	refusal := httpserver.NewRefusal(problem.New(problem.Unavailable, "overloaded", "no").Retry(time.Second))
	r := serveWith(t, refusal, httpserver.Config{Ready: func(context.Context) error { return nil }, MaxConnections: 10, CORSOrigins: cors.Origins{page}})
	for method, status := range map[string]int{http.MethodPost: 503, http.MethodOptions: 204} {
		asked, err := http.NewRequestWithContext(t.Context(), method, r.public+"/purchases", nil)
		if err != nil {
			t.Fatal(err)
		}
		asked.Header.Set("Origin", page)
		asked.Header.Set("Access-Control-Request-Method", "POST")
		resp, err := http.DefaultClient.Do(asked)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status || strings.Join(resp.Header["Access-Control-Allow-Origin"], " and ") != page || strings.Join(resp.Header["Vary"], " and ") != "Origin" {
			t.Errorf("%s: %s %v", method, resp.Status, resp.Header)
		}
	}
}
