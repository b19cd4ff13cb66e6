// Package waittest helps tests wait for asynchronous conditions, and read logs
// while they are being written.
package waittest

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// limit allows for machines under load: only a failure takes this long.
const limit = time.Minute

// Eventually polls every 10 ms until reached returns true. After a minute it
// fails the test, with what as the reason.
func Eventually(t testing.TB, what string, reached func() bool) {
	t.Helper()
	Within(t, limit, what, reached)
}

// Within is [Eventually] with another limit, for what the test can't hasten.
func Within(t testing.TB, limit time.Duration, what string, reached func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(limit); !reached(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// Text is a log that can be read while it is being written. The zero value is
// empty and ready to use.
type Text struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (t *Text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all.Write(p)
}

func (t *Text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all.String()
}
