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

// Attempt is one that was let through.
type Attempt struct {
	t   *Throttle
	key pair
}

// Begin lets an attempt through, or is ErrTooManyAttempts with the time to
// wait. Only failures count, and they count when they are known: many at once
// may get through, and then wait for as long as if they had come one by one.
func (t *Throttle) Begin(login, address string) (Attempt, error) {
	if CheckLogin(login) != nil {
		login = "" // nobody's: all of them share one count
	}
	key := pair{Fold(login), network(address)}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	addr, _ := t.addrs.Get(key.address)
	both, _ := t.pairs.Get(key)
	if wait := max(addr.wait(perAddress, now), both.wait(perPair, now)); wait > 0 {
		return Attempt{}, ErrTooManyAttempts.Retry(wait)
	}
	return Attempt{t, key}, nil
}

// Failed counts the attempt.
func (a Attempt) Failed() {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	now := a.t.now()
	addr, _ := a.t.addrs.Get(a.key.address)
	a.t.addrs.Add(a.key.address, addr.take(perAddress, now))
	both, _ := a.t.pairs.Get(a.key)
	a.t.pairs.Add(a.key, both.take(perPair, now))
}

// Succeeded forgets the pair's failures. Those of the address stay: someone
// with a login of his own must not wash away his tries at others.
func (a Attempt) Succeeded() {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	a.t.pairs.Remove(a.key)
}

// limit is a burst, and the time after which one more is allowed.
type limit struct {
	burst int
	every time.Duration
}

// bucket is a token bucket, told by the time at which it will be full again
// (GCRA). The zero bucket is full.
type bucket struct{ fullAt time.Time }

// wait is the time until there is a token, 0 when there is one.
func (b bucket) wait(l limit, now time.Time) time.Duration {
	if b.fullAt.Before(now) {
		return 0
	}
	return max(0, b.fullAt.Sub(now)-time.Duration(l.burst-1)*l.every)
}

// take takes a token, also one that is not there yet.
func (b bucket) take(l limit, now time.Time) bucket {
	if b.fullAt.Before(now) {
		b.fullAt = now
	}
	return bucket{b.fullAt.Add(l.every)}
}

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
