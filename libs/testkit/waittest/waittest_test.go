package waittest_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lavka/libs/testkit/waittest"
)

func TestEventually(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		waittest.Eventually(t, "the third time", func() bool { asked++; return asked == 3 })
		if asked != 3 {
			t.Errorf("checked %d times, want 3", asked)
		}

		start, failing := time.Now(), &failed{TB: t}
		var waiting sync.WaitGroup
		waiting.Go(func() { waittest.Eventually(failing, "a full moon", func() bool { return false }) })
		waiting.Wait()
		if took := time.Since(start); failing.why != "not within 1m0s: a full moon" || took < time.Minute || took > 61*time.Second {
			t.Errorf("after %v it failed with %q", took, failing.why)
		}
	})
}

// failed records how a test fails instead of failing this one.
type failed struct {
	testing.TB
	why string
}

func (f *failed) Fatalf(format string, args ...any) {
	f.why = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestText(t *testing.T) {
	t.Parallel()
	var text waittest.Text
	var writing sync.WaitGroup
	for range 10 {
		writing.Go(func() { fmt.Fprint(&text, "line\n") })
	}
	for range 10 {
		_ = text.String()
	}
	writing.Wait()
	if n := len(text.String()); n != 50 {
		t.Errorf("%d bytes, want 50", n)
	}
}
