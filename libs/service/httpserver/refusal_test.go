package httpserver_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"lavka/libs/domain/problem"
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
