package catalog

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// waiters are the requests of this replica that wait for billing's answers.
type waiters struct {
	mu sync.Mutex
	by map[uuid.UUID]*waiter

	asked atomic.Int64 // how many purchases billing was asked about and has not answered
}

// waiter is one purchase's: all requests for it wait together.
type waiter struct {
	id       uuid.UUID
	waiting  int
	asked    bool // billing was, about purchase
	early    *answered
	done     chan struct{}
	purchase Purchase // as it was placed; once done is closed, as it is now
}

// answered is an answer that came before it was said how its purchase was placed:
// while a COMMIT is in doubt, the sweeper may see its row, and ask.
type answered struct {
	answer Answer
	at     time.Time
}

func newWaiters() *waiters { return &waiters{by: map[uuid.UUID]*waiter{}} }

// expect waits for a purchase that is about to be placed.
func (w *waiters) expect(id uuid.UUID) *waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wait(id)
}

// placed tells who expects it how a purchase was placed, and says whether billing
// has to be asked.
func (w *waiters) placed(p Purchase) (ask bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	expected, ok := w.by[p.ID]
	return !ok || w.known(expected, p)
}

// join waits for a purchase that was placed before. The first to do so has to
// ask billing, where nobody here has.
func (w *waiters) join(p Purchase) (joined *waiter, first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	joined = w.wait(p.ID)
	if joined.asked {
		return joined, false
	}
	return joined, w.known(joined, p)
}

// known takes how a purchase was placed, and says whether billing has still to
// be heard about it.
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

// leave ends either.
func (w *waiters) leave(joined *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	joined.waiting--
	if joined.waiting == 0 && w.by[joined.id] == joined {
		w.remove(joined)
	}
}

// wake tells those who wait for a purchase how it is now.
func (w *waiters) wake(p Purchase) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if woken, ok := w.by[p.ID]; ok {
		w.finish(woken, p)
	}
}

// settle tells those who wait for a purchase what an answer has made of it.
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
