package catalog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Limits bound the number of pending purchases.
type Limits struct {
	Pending        int // of all users together
	PendingPerUser int
	StockPerUser   int // units of one product with limited stock that a user's pending purchases hold
}

// Census is a count of the pending purchases.
type Census struct {
	Total  int
	Users  map[int64]int // by user, only for users with many
	Oldest time.Duration // age of the oldest
}

// Backlog estimates how many purchases are pending: a count over all replicas
// that is usually at most about a second old, plus what this replica has placed
// since, minus what it has settled.
type Backlog struct {
	limits Limits

	mu     sync.Mutex
	census Census
	total  int           // placed here since the census, minus settled
	users  map[int64]int // the same, by user
}

// NewBacklog returns a Backlog with nothing pending.
func NewBacklog(limits Limits) *Backlog {
	return &Backlog{limits: limits, users: map[int64]int{}}
}

// Room reports whether a user may have one more pending purchase, given how many
// others are about to be placed: more for all users, moreOfUser for this one.
func (b *Backlog) Room(userID int64, more, moreOfUser int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.census.Total+b.total+more < b.limits.Pending &&
		b.census.Users[userID]+b.users[userID]+moreOfUser < b.limits.PendingPerUser
}

// add notes purchases that this replica has placed (1) or settled (−1).
func (b *Backlog) add(userID int64, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total += n
	b.users[userID] += n
	if b.users[userID] == 0 {
		delete(b.users, userID)
	}
}

// count takes a new census. Purchases placed while it is taken may be counted
// twice until the next census.
func (b *Backlog) count(take func() (Census, error)) (Census, error) {
	b.mu.Lock()
	total, users := b.total, make(map[int64]int, len(b.users))
	for id, n := range b.users {
		users[id] = n
	}
	b.mu.Unlock()
	census, err := take()
	if err != nil {
		return census, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.census = census
	b.total -= total
	for id, n := range users {
		if b.users[id] -= n; b.users[id] == 0 {
			delete(b.users, id)
		}
	}
	return census, nil
}

// CensusStore counts pending purchases.
type CensusStore interface {
	// Pending counts all of them, and those of each user with at least atLeast.
	Pending(ctx context.Context, atLeast int) (Census, error)
}

// CensusMetrics shows the latest census.
type CensusMetrics interface {
	Pending(n int, oldest time.Duration)
}

// Counter keeps a Backlog up to date.
type Counter struct {
	Store   CensusStore
	Backlog *Backlog
	Metrics CensusMetrics
	Log     *slog.Logger
	Every   time.Duration // pause between two counts
}

// Run counts until ctx ends.
func (c *Counter) Run(ctx context.Context) {
	for {
		if err := c.runOnce(ctx); err != nil && ctx.Err() == nil {
			c.Log.WarnContext(ctx, "can't count pending purchases; the last count stays in use", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(c.Every):
		}
	}
}

func (c *Counter) runOnce(ctx context.Context) error {
	// Users below a tenth of their limit are not worth fetching.
	many := max(1, c.Backlog.limits.PendingPerUser/10)
	census, err := c.Backlog.count(func() (Census, error) { return c.Store.Pending(ctx, many) })
	if err != nil {
		return err
	}
	c.Metrics.Pending(census.Total, census.Oldest)
	return nil
}
