// Package memory has the garbage collector of a service take a little memory
// rather than much time.
package memory

import (
	"os"
	"runtime"
	"sync/atomic"
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
