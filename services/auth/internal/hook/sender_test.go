package hook

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"lavka/services/auth/internal/auth"
)

// A link is not sent when another replica may have claimed it, whatever its attempt has
// been waiting for.
func TestAnAttemptEndsBeforeItsClaim(t *testing.T) {
	t.Parallel()
	if next := auth.Retry(1); attemptLimit >= claimLimit || claimLimit >= next {
		t.Errorf("an attempt may take %v, and until %v after its claim; the next one begins after %v", attemptLimit, claimLimit, next)
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a link was sent too late") }))
	t.Cleanup(receiver.Close)
	s := New(nil, Config{URL: receiver.URL, Now: time.Now})
	s.storing <- struct{}{} // another delivery waits for a user's row
	d := auth.Delivery{Event: auth.ActivationLink}
	if outcome, err := s.attempt(t.Context(), d, time.Now().Add(10*time.Millisecond)); outcome != Failed || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v, want that the attempt ends", outcome, err)
	}
}
