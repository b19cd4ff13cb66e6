// Package gctuning tunes the garbage collector: it trades a little memory for CPU
// time, and returns unused memory to the operating system.
package gctuning

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// Ballast is the size of the ballast that Tune allocates, in bytes.
const Ballast = 32 << 20

var ballast atomic.Pointer[[]byte]

// Tune makes a small heap be collected less often. A service keeps little live
// data but allocates a lot: with Go's default (GOGC=100), the heap may only grow by
// as much as is live, and collections would be almost continuous. Tune allocates a
// large ballast that is never touched: it occupies no physical memory but counts as
// live. Unlike a higher GOGC it adds no further memory when the heap is large, and
// unlike a GOMEMLIMIT it can't cause endless collections. Together with a
// GOMEMLIMIT, which counts the ballast too, it works the same. If GOGC is set, the
// operator has chosen a value and Tune does nothing.
func Tune() {
	if os.Getenv("GOGC") == "" {
		set := make([]byte, Ballast)
		ballast.Store(&set)
		runtime.GC() // so that the next heap goal includes it
	}
}

const (
	often  = 5 * time.Second
	excess = 128 << 20 // bytes: more free memory than any load needs
	rest   = 4 << 20   // bytes: a service that allocates less than this per interval is idle
)

// GiveBack returns memory to the operating system until ctx ends: once when the
// service becomes idle, and whenever far more is kept free than any load needs. Go
// does this too, but takes minutes while the service is busy. GiveBack does not do
// it for less, because it costs a collection, and a page fault for every page that
// is used again: done every five seconds under full load, it cost a twelfth of all
// sales.
func GiveBack(ctx context.Context) {
	tick := time.NewTicker(often)
	defer tick.Stop()
	w := watch{allocated: read("/gc/heap/allocs:bytes")}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if w.look(read("/gc/heap/allocs:bytes"), read("/memory/classes/heap/free:bytes")) {
				debug.FreeOSMemory()
			}
		}
	}
}

// watch decides when to return memory, from one look to the next.
type watch struct {
	allocated uint64 // bytes since the start
	resting   bool
}

// look reports whether to return memory, given the bytes allocated since the start
// and the bytes now free.
func (w *watch) look(allocated, free uint64) bool {
	rested := w.resting
	w.resting = allocated-w.allocated < rest
	w.allocated = allocated
	return w.resting && !rested || free > excess
}

func read(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
