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

func TestGiveBack(t *testing.T) {
	for giveBack() { // what other tests have left
	}
	const taken = 4 * spare
	garbage := make([]byte, taken)
	for i := range garbage {
		garbage[i] = 1
	}
	runtime.KeepAlive(garbage)
	runtime.GC()
	runtime.GC() // the first one may leave it unswept
	had := released()
	if !giveBack() {
		t.Fatal("nothing was given back")
	}
	if now := released(); now < had+taken/2 {
		t.Errorf("%d bytes given back, of %d", now-had, taken)
	}
	if giveBack() {
		t.Error("it gives back what it has given back")
	}
}

func released() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapReleased
}
