package catalog

import "sync"

// few is how many places of the order queue a user may take in any case.
const few = 8

// places shares the places of the order queue among users: beyond a few, a user may
// take one only while more are free than they have taken. A single user thus gets
// half of the queue at most, n users an n+1th of it each, and the others always find
// a place. The queue itself bounds the sum.
type places struct {
	all int

	mu    sync.Mutex
	free  int
	taken map[int64]int // by user
}

func newPlaces(n int) *places { return &places{all: n, free: n, taken: map[int64]int{}} }

// take reports whether a user may have another place, which leave gives back.
func (p *places) take(userID int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.spent(userID) {
		return false
	}
	p.free--
	p.taken[userID]++
	return true
}

// full reports whether take would fail for a user. It finds out who they are only if a single
// user could have used up their share, which is not so while most places are free.
func (p *places) full(user func() int64) bool {
	p.mu.Lock()
	crowded := p.all-p.free >= max(few, p.free)
	p.mu.Unlock()
	if !crowded {
		return false
	}
	id := user()
	p.mu.Lock()
	defer p.mu.Unlock()
	return id != 0 && p.spent(id)
}

func (p *places) spent(userID int64) bool { return p.taken[userID] >= max(few, p.free) }

func (p *places) leave(userID int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free++
	if p.taken[userID]--; p.taken[userID] == 0 {
		delete(p.taken, userID)
	}
}
