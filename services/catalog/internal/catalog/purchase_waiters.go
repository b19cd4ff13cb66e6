package catalog

import (
	"sync"

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
	purchase Purchase // as it is now; to be read once done is closed
}

func newWaiters() *waiters { return &waiters{by: map[uuid.UUID]*waiter{}} }

// join waits for a purchase. The first to wait has to ask billing.
func (w *waiters) join(id uuid.UUID) (joined *waiter, first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	joined, ok := w.by[id]
	if !ok {
		joined = &waiter{id: id, done: make(chan struct{})}
		w.by[id] = joined
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
	w.mu.Lock()
	defer w.mu.Unlock()
	if woken, ok := w.by[p.ID]; ok {
		woken.purchase = p
		close(woken.done)
		delete(w.by, p.ID)
	}
}
