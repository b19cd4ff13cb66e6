// Package memory has the garbage collector of a service take a little memory
// rather than much time, and give back what it no longer needs.
package memory

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
// collect without end. Where either variable is set, somebody knows better, and
// nothing is done.
func Tune() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		set := make([]byte, Ballast)
		ballast.Store(&set)
		runtime.GC() // the next goal reckons with it
	}
}

const (
	spare = 16 << 20        // bytes that the heap may keep free for what comes next
	often = 5 * time.Second // costs a collection, under load one of ten or more
)

// GiveBack returns to the system what the heap keeps free, now and then until ctx
// ends. Go does so too, but a busy service takes minutes to give back what an
// hour of too many connections has taken.
func GiveBack(ctx context.Context) {
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			giveBack()
		}
	}
}

// giveBack says whether there was enough to be worth the collection that comes
// with it.
func giveBack() bool {
	free := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(free)
	if free[0].Value.Uint64() <= spare {
		return false
	}
	debug.FreeOSMemory()
	return true
}
