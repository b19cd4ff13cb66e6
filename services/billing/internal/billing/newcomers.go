package billing

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// newcomerFor is how long a payment waits for a user whom billing does not know.
	// auth's message about a new user usually arrives in a fraction of a second.
	newcomerFor = 2 * time.Second
	// newcomersMax is how many payments of a replica wait at a time. Others are
	// refused immediately.
	newcomersMax = 256
	// lookEvery is the pause between two reads.
	lookEvery = 50 * time.Millisecond
	// lookLimit is the time limit for a read.
	lookLimit = time.Second
)

// newcomers holds payments for users whom billing does not know yet. A payment that
// waits holds no place in a group and no database session: a single read at a time
// looks for the users of all of them, wherever their customers were stored.
type newcomers struct {
	known func(ctx context.Context, ids []int64) ([]int64, error)
	limit time.Duration

	mu      sync.Mutex
	count   int // payments that wait
	users   map[int64]*newcomer
	looking bool
	looks   sync.WaitGroup
}

// newcomer is a user for whom payments wait.
type newcomer struct {
	count int
	came  chan struct{} // closed when the user is known
}

// wait returns when a user is known, or when a payment has waited for as long as it
// may or ctx ends. It returns false immediately if too many payments wait.
func (n *newcomers) wait(ctx context.Context, userID int64) bool {
	user := n.enter(userID)
	if user == nil {
		return false
	}
	defer n.leave(userID, user)
	select {
	case <-user.came:
	case <-time.After(n.limit):
	case <-ctx.Done():
	}
	return true
}

func (n *newcomers) enter(userID int64) *newcomer {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.count >= newcomersMax {
		return nil
	}
	if n.users == nil {
		n.users = map[int64]*newcomer{}
	}
	user := n.users[userID]
	if user == nil {
		user = &newcomer{came: make(chan struct{})}
		n.users[userID] = user
	}
	user.count++
	n.count++
	if !n.looking {
		n.looking = true
		n.looks.Go(n.look)
	}
	return user
}

func (n *newcomers) leave(userID int64, user *newcomer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count--
	if user.count--; user.count == 0 && n.users[userID] == user {
		delete(n.users, userID)
	}
}

// look looks for the users until no payment waits. If a read fails, the next one
// may succeed; and at the end of its wait each payment is decided on once more.
func (n *newcomers) look() {
	for ids := n.ids(); ids != nil; ids = n.ids() {
		ctx, cancel := context.WithTimeout(context.Background(), lookLimit)
		known, err := n.known(ctx, ids)
		cancel()
		if err == nil {
			n.came(known)
		}
		time.Sleep(lookEvery)
	}
}

// ids returns the users for whom payments wait. If there are none, looking ends.
func (n *newcomers) ids() []int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	var ids []int64
	for id := range n.users {
		ids = append(ids, id)
	}
	n.looking = ids != nil
	slices.Sort(ids)
	return ids
}

func (n *newcomers) came(ids []int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range ids {
		if user := n.users[id]; user != nil {
			delete(n.users, id)
			close(user.came)
		}
	}
}
