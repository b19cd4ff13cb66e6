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

// NewRecorder returns an empty Recorder; the run starts now.
func NewRecorder() *Recorder { return &Recorder{began: time.Now()} }

// Now returns the time since the run began.
func (r *Recorder) Now() time.Duration { return time.Since(r.began) }

// Add records one call of any kind.
func (r *Recorder) Add(add func(*History)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	add(&r.h)
}

// Reached reports whether a condition holds of what has been recorded so far. Unlike
// [Recorder.History], it copies nothing. While it runs, nothing is recorded.
func (r *Recorder) Reached(condition func(History) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return condition(r.h)
}

// History returns a copy of what has been recorded so far.
func (r *Recorder) History() History {
	r.mu.Lock()
	defer r.mu.Unlock()
	return History{
		Buys: append([]Buy(nil), r.h.Buys...), Pays: append([]Pay(nil), r.h.Pays...),
		BillReads: append([]BillRead(nil), r.h.BillReads...), Looks: append([]Look(nil), r.h.Looks...),
		Pages: append([]Page(nil), r.h.Pages...), Reprices: append([]Reprice(nil), r.h.Reprices...),
		Switches: append([]Switch(nil), r.h.Switches...), Accesses: append([]Access(nil), r.h.Accesses...),
		Refunds: append([]Refund(nil), r.h.Refunds...), Reversals: append([]Reversal(nil), r.h.Reversals...),
		Stockings: append([]Stocking(nil), r.h.Stockings...),
		Views:     append([]View(nil), r.h.Views...), Balances: append([]BalanceAt(nil), r.h.Balances...), Followed: append([]Followed(nil), r.h.Followed...),
		Logins: append([]Login(nil), r.h.Logins...), Endings: append([]Ending(nil), r.h.Endings...),
		Resets: append([]Reset(nil), r.h.Resets...), Uses: append([]Use(nil), r.h.Uses...),
	}
}
