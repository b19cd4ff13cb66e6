package catalog

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// waiters tracks the HTTP requests of this replica that wait for billing's
// answers.
type waiters struct {
	mu sync.Mutex
	by map[uuid.UUID]*waiter

	asked atomic.Int64 // purchases sent to billing and not answered yet
}

// waiter belongs to one purchase: all requests for it wait together.
type waiter struct {
	id       uuid.UUID
	waiting  int  // requests
	asked    bool // whether purchase is set and billing has been asked
	early    *answered
	done     chan struct{}
	purchase Purchase // as placed; as it is now, once done is closed
}

// answered is an answer that arrived before this replica knew how its purchase
// was placed: while the outcome of a COMMIT is unknown, a sweeper may already see
// the row and send the request.
type answered struct {
	answer Answer
	at     time.Time
}

func newWaiters() *waiters { return &waiters{by: map[uuid.UUID]*waiter{}} }

// expect adds a request that waits for a purchase about to be placed. Its end
// must be reported with leave.
func (w *waiters) expect(id uuid.UUID) *waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wait(id)
}

// placed records how a purchase was placed, and reports whether billing must be
// asked.
func (w *waiters) placed(p Purchase) (ask bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	expected, ok := w.by[p.ID]
	return !ok || w.known(expected, p)
}

// join adds a request that waits for a purchase placed earlier. The first caller
// to join must ask billing, unless this replica already has. Its end must be
// reported with leave.
func (w *waiters) join(p Purchase) (joined *waiter, first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	joined = w.wait(p.ID)
	if joined.asked {
		return joined, false
	}
	return joined, w.known(joined, p)
}

// known records how a purchase was placed, and reports whether billing's answer
// is still to come.
func (w *waiters) known(waiting *waiter, p Purchase) bool {
	if e := waiting.early; e != nil {
		w.finish(waiting, e.answer.on(p, e.at))
		return false
	}
	waiting.asked, waiting.purchase = true, p
	w.asked.Add(1)
	return true
}

func (w *waiters) wait(id uuid.UUID) *waiter {
	waiting, ok := w.by[id]
	if !ok {
		waiting = &waiter{id: id, done: make(chan struct{})}
		w.by[id] = waiting
	}
	waiting.waiting++
	return waiting
}

// leave ends an expect or a join.
func (w *waiters) leave(joined *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	joined.waiting--
	if joined.waiting == 0 && w.by[joined.id] == joined {
		w.remove(joined)
	}
}

// wake releases the requests that wait for a purchase, with its current state.
func (w *waiters) wake(p Purchase) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if woken, ok := w.by[p.ID]; ok {
		w.finish(woken, p)
	}
}

// settle releases the requests that wait for a purchase, as settled by an answer.
func (w *waiters) settle(a Answer, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch woken, ok := w.by[a.PurchaseID]; {
	case !ok:
	case woken.asked:
		w.finish(woken, a.on(woken.purchase, at))
	default:
		woken.early = &answered{a, at}
	}
}

func (w *waiters) finish(woken *waiter, now Purchase) {
	woken.purchase = now
	close(woken.done)
	w.remove(woken)
}

func (w *waiters) remove(gone *waiter) {
	delete(w.by, gone.id)
	if gone.asked {
		w.asked.Add(-1)
	}
}
