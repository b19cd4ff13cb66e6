package serving

import "sync/atomic"

// Failure is the last failure of a worker that retries.
type Failure struct{ last atomic.Pointer[error] }

// Set stores a failure; it does nothing for nil.
func (f *Failure) Set(err error) {
	if err != nil {
		f.last.Store(&err)
	}
}

// Last returns the last failure, or nil.
func (f *Failure) Last() error {
	if err := f.last.Load(); err != nil {
		return *err
	}
	return nil
}
