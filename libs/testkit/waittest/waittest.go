// Package waittest has a test wait for what others are about to do, and read
// what they say meanwhile.
package waittest

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// limit is for machines under load; nothing but a failure takes so long.
const limit = time.Minute

// Eventually waits until it is reached, and fails the test with what is awaited
// when it is not within a minute.
func Eventually(t testing.TB, what string, reached func() bool) {
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

// Text is a log that is read while it is written. The zero value is empty.
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
