package catalog

import (
	"sync"
	"time"

	"github.com/google/uuid"
)

// waiters are the requests of this replica that wait for billing's answers.
type waiters struct {
	mu sync.Mutex
	by map[uuid.UUID]*waiter
}

// waiter is one purchase's: all requests for it wait together.
type waiter struct {
	id       uuid.UUID
	waiting  int
	done     chan struct{}
	purchase Purchase // as it was placed; once done is closed, as it is now
}

func newWaiters() *waiters { return &waiters{by: map[uuid.UUID]*waiter{}} }

// join waits for a purchase. The first to wait has to ask billing.
func (w *waiters) join(p Purchase) (joined *waiter, first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	joined, ok := w.by[p.ID]
	if !ok {
		joined = &waiter{id: p.ID, done: make(chan struct{}), purchase: p}
		w.by[p.ID] = joined
	}
	joined.waiting++
	return joined, !ok
}

// leave ends a join.
func (w *waiters) leave(joined *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	joined.waiting--
	if joined.waiting == 0 && w.by[joined.id] == joined {
		delete(w.by, joined.id)
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
		delete(w.by, id)
	}
}
