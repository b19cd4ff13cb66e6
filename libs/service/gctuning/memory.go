// Package gctuning has the garbage collector of a service take a little memory
// rather than much time, and give back what it no longer needs.
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

// Ballast is how much is set aside, in bytes.
const Ballast = 32 << 20

var ballast atomic.Pointer[[]byte]

// Tune has a small heap collected less often. A service holds little and lets go
// of much: with the heap allowed to grow by as much as is in use (Go's own
// GOGC=100), it would collect all the time. Something large that is never touched,
// and so takes no memory, counts as in use; unlike a higher GOGC it adds nothing
// more when the heap is large, and unlike a GOMEMLIMIT it never has the service
// collect without end; beside one, which counts it in, it does the same. Where GOGC
// is set, somebody knows better, and nothing is done.
func Tune() {
	if os.Getenv("GOGC") == "" {
		set := make([]byte, Ballast)
		ballast.Store(&set)
		runtime.GC() // the next goal reckons with it
	}
}

const (
	often  = 5 * time.Second
	excess = 128 << 20 // bytes that are kept free and no load needs
	rest   = 4 << 20   // bytes: whoever allocates less in that time is at rest
)

// GiveBack returns memory to the system until ctx ends: once when the service
// comes to rest, and whenever far more is kept free than any load needs. Go does
// so too, but takes minutes where the service is busy. It is not done for less: it
// costs a collection, and every page that is used again a fault. Under full load,
// every five seconds, that was a twelfth of all sales.
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

// watch decides by what it sees each time.
type watch struct {
	allocated uint64 // bytes since the start
	resting   bool
}

// look says whether to give memory back, when so much has been allocated since the
// start and so much is kept free, in bytes.
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
