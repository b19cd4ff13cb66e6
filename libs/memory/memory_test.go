package memory_test

import (
	"math"
	"runtime/debug"
	"testing"

	"lavka/libs/memory"
)

// What is set for the whole process is set back.
func TestTune(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(math.MaxInt64)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	for _, c := range []struct {
		gogc, memlimit string
		percent        int
		limit          int64
	}{
		{"50", "1GiB", 100, math.MaxInt64}, // whoever runs it knows better
		{"50", "", 100, 160 << 20},
		{"", "1GiB", 400, 160 << 20},
	} {
		t.Setenv("GOGC", c.gogc)
		t.Setenv("GOMEMLIMIT", c.memlimit)
		memory.Tune()
		gotPercent := debug.SetGCPercent(100)
		if got := debug.SetMemoryLimit(-1); got != c.limit || gotPercent != c.percent {
			t.Errorf("GOGC=%q GOMEMLIMIT=%q: %d %%, %d bytes; want %d %%, %d bytes", c.gogc, c.memlimit, gotPercent, got, c.percent, c.limit)
		}
	}
}
