package gctuning

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"testing"

	"lavka/libs/testkit/waittest"
)

func TestTune(t *testing.T) {
	goal := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NextGC
	}
	for _, c := range []struct {
		gogc, memlimit string
		limit          int64 // how Go parses memlimit at startup, in bytes
		tuned          bool
	}{{"50", "", math.MaxInt64, false}, {"", "1GiB", 1 << 30, true}, {"", "", math.MaxInt64, true}} {
		t.Run(fmt.Sprintf("GOGC=%s,GOMEMLIMIT=%s", c.gogc, c.memlimit), func(t *testing.T) {
			t.Setenv("GOGC", c.gogc)
			t.Setenv("GOMEMLIMIT", c.memlimit)
			// These settings are process-wide, so restore them.
			percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(c.limit)
			t.Cleanup(func() {
				ballast.Store(nil)
				debug.SetGCPercent(percent)
				debug.SetMemoryLimit(limit)
			})
			runtime.GC() // discards garbage from earlier tests
			if before := goal(); before > Ballast {
				t.Fatalf("before tuning, the next collection is at %d bytes", before)
			}
			Tune()
			if after := goal(); after > 2*Ballast != c.tuned {
				t.Errorf("after Tune, the next collection is at %d bytes", after)
			}
		})
	}
}

func TestGiveBack(t *testing.T) {
	const busy = 100 << 20
	var w watch
	for i, step := range []struct {
		allocated, free uint64 // since the previous look; now
		want            bool
	}{
		{busy, 30 << 20, false},
		{busy, excess + 1, true}, // after an overload
		{busy, 30 << 20, false},
		{rest - 1, 30 << 20, true}, // becomes idle
		{0, 30 << 20, false},       // once
		{busy, 30 << 20, false},
		{0, 0, true}, // idle again; what is free is only known after the collection
		{0, excess + 1, true},
	} {
		if got := w.look(w.allocated+step.allocated, step.free); got != step.want {
			t.Errorf("look %d: %v, want %v", i+1, got, step.want)
		}
	}
}

func TestMemoryIsReturned(t *testing.T) {
	const taken = 256 << 20
	garbage := make([]byte, taken)
	for i := 0; i < len(garbage); i += 1 << 10 {
		garbage[i] = 1
	}
	runtime.KeepAlive(garbage)
	garbage = nil
	runtime.GC()
	const forced = "/gc/cycles/forced:gc-cycles" // Go also returns memory itself, but without a forced collection
	released, before := read("/memory/classes/heap/released:bytes"), read(forced)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { GiveBack(ctx); close(ended) }()
	waittest.Eventually(t, "half of the memory is returned", func() bool {
		return read(forced) > before && read("/memory/classes/heap/released:bytes") >= released+taken/2
	})
	stop()
	<-ended
}
