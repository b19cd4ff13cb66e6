// Package memory has the garbage collector of a service take memory rather than
// time, within a bound.
package memory

import (
	"os"
	"runtime/debug"
)

const (
	// growth is how much the heap may grow before it is collected, in percent of
	// what was left the last time. A service holds little and lets go of much:
	// with Go's own 100 it would collect all the time.
	growth = 400
	// bound is how much Go may take before it collects more often than that, in bytes.
	bound = 160 << 20
)

// Tune sets the collector, except where GOGC or GOMEMLIMIT have.
func Tune() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(growth)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(bound)
	}
}
