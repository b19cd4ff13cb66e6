package httpapi

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTheDoorRefusesOrdersWhileTheQueueIsFull(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	full := true
	share := false // of the user who calls is used up
	inside := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	const caller = 7
	door := Door(inside, func(*http.Request) int64 { return caller }, func(user func() int64) bool { return full || user() == caller && share }, slog.New(slog.NewTextHandler(&log, nil)))
	ask := func(method, path, key string) (int, string) {
		r := httptest.NewRequest(method, path, strings.NewReader("{"))
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		if w.Code == 503 && w.Header().Get("Retry-After") == "" {
			t.Errorf("%s %s: %v", method, path, w.Header())
		}
		return w.Code, w.Body.String()
	}
	for range 5 {
		if status, body := ask("POST", "/purchases", ""); status != 503 || !strings.Contains(body, `"overloaded"`) {
			t.Errorf("an order: %d %s", status, body)
		}
		// It may be a repeat of an order that was placed.
		if status, body := ask("POST", "/purchases", "k"); status != 503 || !strings.Contains(body, `"outcome_unknown"`) {
			t.Errorf("an order with a key: %d %s", status, body)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d log lines within a second, want 1:\n%s", n, log.String())
	}
	for _, path := range []string{"/purchases", "/products"} {
		if status, _ := ask("GET", path, ""); status != http.StatusTeapot {
			t.Errorf("GET %s: %d", path, status)
		}
	}
	full, share = false, true
	if status, body := ask("POST", "/purchases", ""); status != 503 || !strings.Contains(body, `"overloaded"`) {
		t.Errorf("an order of a user whose share of the queue is used up: %d %s", status, body)
	}
	share = false
	if status, _ := ask("POST", "/purchases", ""); status != http.StatusTeapot {
		t.Errorf("an order while there is room: %d", status)
	}
}
