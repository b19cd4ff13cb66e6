package catalog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Limits bound how many purchases may be pending.
type Limits struct {
	Pending        int // in all
	PendingPerUser int
}

// Census is a count of the pending purchases.
type Census struct {
	Total  int
	Users  map[int64]int // those who have many of them
	Oldest time.Duration // the age of the oldest one
}

// Backlog knows about how many purchases are pending: a count of all replicas'
// purchases that is at most a second or so old, and what this replica has
// added and settled since.
type Backlog struct {
	limits Limits

	mu     sync.Mutex
	census Census
	total  int           // made here since the census, less those settled
	users  map[int64]int // the same for each user
}

// NewBacklog makes a Backlog that knows of nothing pending.
func NewBacklog(limits Limits) *Backlog {
	return &Backlog{limits: limits, users: map[int64]int{}}
}

// Room says whether a user may have one more pending purchase, when so many
// are about to be made, in all and for this user.
func (b *Backlog) Room(userID int64, more, moreOfUser int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.census.Total+b.total+more < b.limits.Pending &&
		b.census.Users[userID]+b.users[userID]+moreOfUser < b.limits.PendingPerUser
}

// add notes purchases that were made (1) or settled (−1) here.
func (b *Backlog) add(userID int64, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total += n
	b.users[userID] += n
	if b.users[userID] == 0 {
		delete(b.users, userID)
	}
}

// count takes a new census. What was added while it was taken may be in it
// twice until the next one.
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
	// Pending counts them, and each user's who has at least so many.
	Pending(ctx context.Context, atLeast int) (Census, error)
}

// Counter keeps a Backlog up to date.
type Counter struct {
	Store   CensusStore
	Backlog *Backlog
	Metrics *Metrics
	Log     *slog.Logger
	Every   time.Duration // between two counts
}

// Run counts until ctx ends.
func (c *Counter) Run(ctx context.Context) {
	for {
		if err := c.runOnce(ctx); err != nil && ctx.Err() == nil {
			c.Log.WarnContext(ctx, "pending purchases can't be counted; the last count stays", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(c.Every):
		}
	}
}

func (c *Counter) runOnce(ctx context.Context) error {
	// Users with fewer than a tenth of their limit are not worth carrying.
	many := max(1, c.Backlog.limits.PendingPerUser/10)
	census, err := c.Backlog.count(func() (Census, error) { return c.Store.Pending(ctx, many) })
	if err != nil {
		return err
	}
	c.Metrics.pending.Set(float64(census.Total))
	c.Metrics.oldest.Set(census.Oldest.Seconds())
	return nil
}
