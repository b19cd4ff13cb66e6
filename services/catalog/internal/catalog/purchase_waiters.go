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
	done     chan struct{}
	purchase Purchase // as it was placed; once done is closed, as it is now
}

func newWaiters() *waiters { return &waiters{by: map[uuid.UUID]*waiter{}} }

// expect waits for a purchase that is about to be placed.
func (w *waiters) expect(id uuid.UUID) *waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wait(id)
}

// placed tells who expects it how a purchase was placed: billing is being asked.
func (w *waiters) placed(p Purchase) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if expected, ok := w.by[p.ID]; ok {
		w.ask(expected, p)
	}
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
	w.ask(joined, p)
	return joined, true
}

func (w *waiters) ask(waiting *waiter, p Purchase) {
	waiting.asked, waiting.purchase = true, p
	w.asked.Add(1)
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
	w.change(p.ID, func(Purchase) Purchase { return p })
}

// settle tells those who wait for a purchase what an answer has made of it.
func (w *waiters) settle(a Answer, at time.Time) {
	w.change(a.PurchaseID, func(placed Purchase) Purchase { return a.on(placed, at) })
}

func (w *waiters) change(id uuid.UUID, now func(placed Purchase) Purchase) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if woken, ok := w.by[id]; ok {
		woken.purchase = now(woken.purchase)
		close(woken.done)
		w.remove(woken)
	}
}

func (w *waiters) remove(gone *waiter) {
	delete(w.by, gone.id)
	if gone.asked {
		w.asked.Add(-1)
	}
}
