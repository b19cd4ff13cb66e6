package pg

// Waiting is the number of reads that wait for a round trip.
func (r *Reader) Waiting() int { return r.group.Waiting() }

// Sessions is the number of sessions of expensive reads.
func (e *Expensive) Sessions() int { return int(e.pool.Stat().TotalConns()) }

// Queued returns the number of keys that have a queue.
func Queued[K comparable](q *Queues[K]) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.last)
}
