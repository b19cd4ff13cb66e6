package postgres

import "sync/atomic"

// frequencies are shares of products that have a gram, of the most frequent ones.
type frequencies struct {
	known atomic.Pointer[map[string]float32]
}

// of returns the share of products that have a gram, or 0 if it is not one of the most
// frequent.
func (f *frequencies) of(gram string) float32 {
	known := f.known.Load()
	if known == nil {
		return 0
	}
	return (*known)[gram]
}
