package httpapi

import (
	"net/http/httptest"
	"testing"
)

// A repeat with the same key gets the same response.
func TestABillOfAKey(t *testing.T) {
	t.Parallel()
	d := newDesk(t).as(t, 1)
	open := func(key string) *httptest.ResponseRecorder {
		t.Helper()
		r, w := httptest.NewRequest("POST", "/bills", nil), httptest.NewRecorder()
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
		d.ServeHTTP(w, r)
		return w
	}
	first, again, other, none := open("rent"), open("rent"), open("food"), open("")
	if first.Code != 201 || first.Header().Get("Idempotent-Replayed") != "" {
		t.Fatalf("%d %s", first.Code, first.Body)
	}
	if again.Code != 201 || again.Body.String() != first.Body.String() || again.Header().Get("Idempotent-Replayed") != "true" || again.Header().Get("Location") != first.Header().Get("Location") {
		t.Errorf("repeated: %d %s %v, want %s", again.Code, again.Body, again.Header(), first.Body)
	}
	for _, w := range []*httptest.ResponseRecorder{other, none} {
		if w.Code != 201 || w.Header().Get("Location") == first.Header().Get("Location") || w.Header().Get("Idempotent-Replayed") != "" {
			t.Errorf("without the key: %d %s", w.Code, w.Body)
		}
	}
	if w := open("ключ"); w.Code != 400 {
		t.Errorf("a key that is not ASCII: %d %s", w.Code, w.Body)
	}
}
