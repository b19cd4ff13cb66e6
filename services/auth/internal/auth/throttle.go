package auth

import (
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
)

// Limits of failed attempts. They are kept in memory, for each replica by
// itself: an attacker gains a small factor, and no login writes to a database.
var (
	// A person mistypes a few times; a guesser gets 2,880 tries a day.
	perPair = limit{burst: 5, every: 30 * time.Second}
	// An office behind one address fails more often, and may still not try
	// one password on each of many logins.
	perAddress = limit{burst: 50, every: 2 * time.Second}
)

// throttled bounds how many pairs, and how many addresses, are remembered; the
// least recently seen are forgotten first. An address that has used up its own
// limit adds no more pairs, so flooding the memory takes thousands of them.
const throttled = 100_000

// Throttle counts failed attempts per login and address, and per address: a
// stranger elsewhere can't lock the owner out.
type Throttle struct {
	now   func() time.Time
	mu    sync.Mutex
	pairs *lru.LRU[pair, bucket]
	addrs *lru.LRU[string, bucket]
}

type pair struct{ login, address string }

// NewThrottle makes a Throttle.
func NewThrottle(now func() time.Time) (*Throttle, error) {
	pairs, err := lru.NewLRU[pair, bucket](throttled, nil)
	if err != nil {
		return nil, err
	}
	addrs, err := lru.NewLRU[string, bucket](throttled, nil)
	if err != nil {
		return nil, err
	}
	return &Throttle{now: now, pairs: pairs, addrs: addrs}, nil
}

// Attempt is one that was let through. It counts as failed until it says
// otherwise: many at once get no more tries than one after another.
type Attempt struct {
	t   *Throttle
	key pair
}

// Begin lets an attempt through, or is ErrTooManyAttempts with the time to
// wait.
func (t *Throttle) Begin(login, address string) (Attempt, error) {
	if CheckLogin(login) != nil {
		login = "" // nobody's: all of them share one count
	}
	key := pair{Fold(login), network(address)}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	addr, _ := t.addrs.Get(key.address)
	addr, wait := addr.take(perAddress, now)
	if wait > 0 {
		return Attempt{}, ErrTooManyAttempts.Retry(wait)
	}
	both, _ := t.pairs.Get(key)
	both, wait = both.take(perPair, now)
	if wait > 0 {
		return Attempt{}, ErrTooManyAttempts.Retry(wait)
	}
	t.addrs.Add(key.address, addr)
	t.pairs.Add(key, both)
	return Attempt{t, key}, nil
}

// Succeeded forgets the pair's failures. Those of the address stay: someone
// with a login of his own must not wash away his tries at others.
func (a Attempt) Succeeded() {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	a.t.pairs.Remove(a.key)
	a.t.giveBackAddress(a.key.address)
}

// Undecided takes the attempt back: no password was looked at.
func (a Attempt) Undecided() {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	if b, ok := a.t.pairs.Peek(a.key); ok {
		a.t.pairs.Add(a.key, b.giveBack(perPair))
	}
	a.t.giveBackAddress(a.key.address)
}

func (t *Throttle) giveBackAddress(address string) {
	if b, ok := t.addrs.Peek(address); ok {
		t.addrs.Add(address, b.giveBack(perAddress))
	}
}

// limit is a burst, and the time after which one more is allowed.
type limit struct {
	burst int
	every time.Duration
}

// bucket is a token bucket, told by the time at which it will be full again
// (GCRA). The zero bucket is full.
type bucket struct{ fullAt time.Time }

// take takes one token, or says how long to wait for the next.
func (b bucket) take(l limit, now time.Time) (bucket, time.Duration) {
	if b.fullAt.Before(now) {
		b.fullAt = now
	}
	next := b.fullAt.Add(l.every)
	if wait := next.Sub(now) - time.Duration(l.burst)*l.every; wait > 0 {
		return b, wait
	}
	return bucket{next}, 0
}

func (b bucket) giveBack(l limit) bucket { return bucket{b.fullAt.Add(-l.every)} }

// network is what one client has of addresses: an IPv6 customer gets a /64 and
// could take another address for each try.
func network(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	prefix, err := addr.Prefix(64)
	if err != nil { // never: 64 bits fit in an IPv6 address
		return addr.String()
	}
	return prefix.String()
}
