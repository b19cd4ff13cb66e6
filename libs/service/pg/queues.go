package pg

import (
	"context"
	"sync"
)

// Queues lets one transaction for each key run at a time, in the order in which they
// came. Transactions that lock the same row, such as those of one user, would
// otherwise wait for it in sessions that all requests share: a client that sends many
// of them at once would occupy every session. Here they wait without one. The zero
// value is ready for use.
type Queues[K comparable] struct {
	mu   sync.Mutex
	last map[K]chan struct{} // closed when the transaction that came last has ended
}

// Do runs f when those that came before it with the same key have ended. If ctx ends
// first, Do returns its error and does not run f.
func (q *Queues[K]) Do(ctx context.Context, key K, f func() error) error {
	ended := make(chan struct{})
	q.mu.Lock()
	before := q.last[key]
	if q.last == nil {
		q.last = map[K]chan struct{}{}
	}
	q.last[key] = ended
	q.mu.Unlock()
	leave := func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.last[key] == ended {
			delete(q.last, key)
		}
		close(ended)
	}
	if before != nil {
		select {
		case <-before:
		case <-ctx.Done():
			// Those that come after wait for the one before, as this one did.
			go func() {
				<-before
				leave()
			}()
			return ctx.Err()
		}
	}
	defer leave()
	return f()
}
