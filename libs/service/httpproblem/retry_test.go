package httpproblem_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"lavka/libs/domain/problem"
	"lavka/libs/service/httpproblem"
)

// Where a key was sent and counts, a problem says what becomes of it. Elsewhere it does not.
func TestProblemsSayHowToRetryWithAKey(t *testing.T) {
	t.Parallel()
	conflict := problem.New(problem.Conflict, "refund_exceeds", "…")
	for _, test := range []struct {
		method, path, key string
		err               error
		want              any
	}{
		{"POST", "/purchases", "k", problem.New(problem.Unavailable, "overloaded", "…"), "same_key"},
		{"POST", "/purchases", "k", problem.New(problem.PaymentRequired, "insufficient_funds", "…"), "new_key"},
		{"POST", "/bills", "k", problem.New(problem.Malformed, "malformed", "…"), "never"},
		{"POST", "/products", "k", problem.New(problem.Unavailable, "of_a_later_release", "…"), "same_key"},
		{"POST", "/purchases/1/refunds", "k", conflict, "never"},
		{"POST", "/purchases/1/refunds", "k", conflict.With("refund_id", "1"), "new_key"},
		{"POST", "/purchases", "", problem.New(problem.Unavailable, "overloaded", "…"), nil},
		{"GET", "/purchases", "k", problem.New(problem.Unavailable, "overloaded", "…"), nil},
		{"POST", "/auth/login", "k", problem.New(problem.Unavailable, "overloaded", "…"), nil},
	} {
		r, w := httptest.NewRequest(test.method, test.path, http.NoBody), httptest.NewRecorder()
		if test.key != "" {
			r.Header.Set("Idempotency-Key", test.key)
		}
		httpproblem.Write(w, r, test.err)
		var body map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body["retry"] != test.want {
			t.Errorf("%s %s, key %q: retry is %v, want %v (%v)", test.method, test.path, test.key, body["retry"], test.want, err)
		}
	}
}
