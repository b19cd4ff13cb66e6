package history

import (
	"sync"
	"time"
)

// Recorder collects a History from many clients.
type Recorder struct {
	began time.Time

	mu sync.Mutex
	h  History
}

// NewRecorder begins a run.
func NewRecorder() *Recorder { return &Recorder{began: time.Now()} }

// Now is the time since the run began.
func (r *Recorder) Now() time.Duration { return time.Since(r.began) }

// Add records one call of any kind.
func (r *Recorder) Add(add func(*History)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	add(&r.h)
}

// History gives what was recorded until now. It shares nothing with what is
// recorded later.
func (r *Recorder) History() History {
	r.mu.Lock()
	defer r.mu.Unlock()
	return History{
		Buys: append([]Buy(nil), r.h.Buys...), Pays: append([]Pay(nil), r.h.Pays...),
		BillReads: append([]BillRead(nil), r.h.BillReads...), Looks: append([]Look(nil), r.h.Looks...),
		Pages: append([]Page(nil), r.h.Pages...), Reprices: append([]Reprice(nil), r.h.Reprices...),
		Switches: append([]Switch(nil), r.h.Switches...), Accesses: append([]Access(nil), r.h.Accesses...),
	}
}
