package memory

import (
	"runtime"
	"testing"
)

// What is set for the whole process is set back.
func TestTune(t *testing.T) {
	t.Cleanup(func() { ballast.Store(nil) })
	goal := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NextGC
	}
	for _, c := range []struct {
		gogc, memlimit string
		tuned          bool
	}{{"50", "", false}, {"", "1GiB", false}, {"", "", true}} {
		t.Setenv("GOGC", c.gogc)
		t.Setenv("GOMEMLIMIT", c.memlimit)
		Tune()
		if got := goal() > 2*Ballast; got != c.tuned {
			t.Errorf("GOGC=%q GOMEMLIMIT=%q: the next collection is at %d bytes", c.gogc, c.memlimit, goal())
		}
	}
}
