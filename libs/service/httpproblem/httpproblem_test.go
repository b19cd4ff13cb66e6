package httpproblem_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lavka/libs/domain/problem"
	"lavka/libs/service/httpproblem"
)

func TestWrite(t *testing.T) {
	t.Parallel()
	p := problem.New(problem.PaymentRequired, "insufficient_funds", "the bill holds too little").With("balance", 7)
	w := httptest.NewRecorder()
	httpproblem.Write(w, httptest.NewRequest("POST", "/", nil), fmt.Errorf("buy: %w", p))
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if w.Code != 402 || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("status %d, %v", w.Code, w.Header())
	}
	if got["type"] != "urn:lavka:problem:insufficient_funds" || got["title"] != "Insufficient funds" || got["balance"] != 7.0 || got["status"] != 402.0 {
		t.Errorf("body %v", got)
	}
}

func TestAnUnknownErrorShowsNothing(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	httpproblem.Write(w, httptest.NewRequest("GET", "/", nil), errors.New("password=hunter2"))
	if w.Code != 500 || strings.Contains(w.Body.String(), "hunter2") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	httpproblem.Write(w, httptest.NewRequest("GET", "/", nil), problem.New(problem.Unavailable, "overloaded", "later").Retry(1200*time.Millisecond))
	if got := w.Header().Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After %q, want 2", got)
	}
	w = httptest.NewRecorder()
	httpproblem.Write(w, httptest.NewRequest("GET", "/", nil), problem.New(problem.Unauthenticated, "token_invalid", "no"))
	if got := w.Header().Get("WWW-Authenticate"); !strings.Contains(got, "invalid_token") {
		t.Errorf("WWW-Authenticate %q", got)
	}
}
