package catalog

import (
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"lavka/libs/domain/problem"
)

const (
	// declineEvery is how often a user whose declines are used up may cause another.
	declineEvery = time.Second
	// maxDeclineWait bounds how long a user's orders are refused. By default a user may
	// have 1,000 pending purchases, all of which may be declined together: at one a
	// second, that is less than this.
	maxDeclineWait = 20 * time.Minute
	// countedDecliners is the number of users whose declines are remembered; the
	// least recently declined are forgotten first.
	countedDecliners = 100_000
)

// ErrTooManyDeclines refuses an order of a user who has caused too many declines.
// Its RetryAfter is set to the time to wait.
var ErrTooManyDeclines = problem.New(problem.TooMany, "too_many_declines",
	"too many of your purchases were declined; nothing was bought, and an Idempotency-Key can still be used; retry after the time given in Retry-After")

// Declines limits the declined purchases of each user: a decline costs no money and
// leaves rows that are kept forever. A user may cause a number of declines at once,
// and one more each second. Declines of orders that were already in progress count
// too, so that a user gains nothing by sending many at once. A purchase that
// expired does not count: that is not the buyer's fault. Each replica counts the
// declines that it writes, in memory.
type Declines struct {
	atOnce int
	now    func() time.Time

	mu    sync.Mutex
	users *lru.LRU[int64, *rate.Limiter] // users with declines
}

// NewDeclines returns Declines that allow atOnce of them at once, at least one.
func NewDeclines(atOnce int, now func() time.Time) (*Declines, error) {
	users, err := lru.NewLRU[int64, *rate.Limiter](countedDecliners, nil)
	if err != nil {
		return nil, err
	}
	return &Declines{atOnce: atOnce, now: now, users: users}, nil
}

// Check returns ErrTooManyDeclines, with the time to wait, if an order of a user
// must be refused.
func (d *Declines) Check(userID int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	left, counted := d.users.Get(userID)
	if !counted {
		return nil
	}
	missing := 1 - left.TokensAt(d.now())
	if missing <= 0 {
		return nil
	}
	return ErrTooManyDeclines.Retry(time.Duration(missing * float64(declineEvery)))
}

// add counts a decline.
func (d *Declines) add(userID int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	left, counted := d.users.Get(userID)
	if !counted {
		left = rate.NewLimiter(rate.Every(declineEvery), d.atOnce)
		d.users.Add(userID, left)
	}
	now := d.now()
	if left.TokensAt(now) > 1-float64(maxDeclineWait/declineEvery) {
		left.ReserveN(now, 1) // also below zero: the user then waits for longer
	}
}

// counts reports whether a decline is one that the buyer could have avoided.
func (a Answer) counts() bool { return a.Status == Declined && a.Reason != Expired }
