package auth

import (
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
)

// Limits of attempts. They are kept in memory, for each replica by itself: an
// attacker gains a small factor, and no login writes to a database.
var (
	// A person mistypes a few times; a guesser gets 2,880 tries a day.
	perPair = limit{burst: 5, every: 30 * time.Second}
	// An office behind one address fails more often, and may still not try
	// one password on each of many logins.
	perAddress = limit{burst: 50, every: 2 * time.Second}
	// Registrations and new links. Nobody has so many people behind one address
	// in an hour; without a limit, one could fill the table for ever.
	perNewcomers = limit{burst: 5000, every: time.Second}
)

// throttled bounds how many pairs, and how many addresses, are remembered; the
// least recently seen are forgotten first. An address that has used up its own
// limit adds no more pairs, so flooding the memory takes thousands of them.
const throttled = 100_000

// decided is how long those wait whose tries are all under way: by then it is
// known whether they have failed.
const decided = time.Second

// Throttle counts failed attempts per login and address, and per address: a
// stranger elsewhere can't lock the owner out. It also counts newcomers per
// address.
type Throttle struct {
	now       func() time.Time
	mu        sync.Mutex
	pairs     *lru.LRU[pair, tries]
	addrs     *lru.LRU[string, bucket]
	newcomers *lru.LRU[string, bucket]
}

type pair struct{ login, address string }

// tries are a pair's.
type tries struct {
	failed   bucket
	underWay int
}

// NewThrottle makes a Throttle.
func NewThrottle(now func() time.Time) (*Throttle, error) {
	pairs, err := lru.NewLRU[pair, tries](throttled, nil)
	if err != nil {
		return nil, err
	}
	addrs, err := lru.NewLRU[string, bucket](throttled, nil)
	if err != nil {
		return nil, err
	}
	newcomers, err := lru.NewLRU[string, bucket](throttled, nil)
	if err != nil {
		return nil, err
	}
	return &Throttle{now: now, pairs: pairs, addrs: addrs, newcomers: newcomers}, nil
}

// Attempt is one that was let through. It must be ended.
type Attempt struct {
	t   *Throttle
	key pair
}

// Begin lets an attempt through, or is ErrTooManyAttempts with the time to
// wait. Only failures count, but while it is open whether an attempt fails it
// holds one of its pair's tries: many guesses at once are no more than one by
// one.
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
	if wait := max(addr.wait(perAddress, now), both.failed.wait(perPair, now)); wait > 0 {
		return Attempt{}, ErrTooManyAttempts.Retry(wait)
	}
	left := both.failed
	for range both.underWay {
		left = left.take(perPair, now)
	}
	if left.wait(perPair, now) > 0 {
		return Attempt{}, ErrTooManyAttempts.Retry(decided)
	}
	both.underWay++
	t.pairs.Add(key, both)
	return Attempt{t, key}, nil
}

// Outcome is how an attempt ends.
type Outcome int

// The outcomes.
const (
	Undecided Outcome = iota // nobody has looked: it does not count
	Failed                   // it counts
	Succeeded                // the pair's failures are forgotten
)

// End gives back what the attempt held, or counts it. Success leaves the
// address's failures: someone with a login of his own must not wash away his
// tries at others.
func (a Attempt) End(outcome Outcome) {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	now := a.t.now()
	both, _ := a.t.pairs.Get(a.key)
	both.underWay = max(0, both.underWay-1) // it may have been forgotten meanwhile
	switch outcome {
	case Failed:
		addr, _ := a.t.addrs.Get(a.key.address)
		a.t.addrs.Add(a.key.address, addr.take(perAddress, now))
		both.failed = both.failed.take(perPair, now)
	case Succeeded:
		both.failed = bucket{}
	}
	if both.underWay == 0 && !both.failed.fullAt.After(now) {
		a.t.pairs.Remove(a.key)
		return
	}
	a.t.pairs.Add(a.key, both)
}

// MayJoin is nil, or ErrTooManyAttempts when too many have registered at an
// address.
func (t *Throttle) MayJoin(address string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	joined, _ := t.newcomers.Get(network(address))
	if wait := joined.wait(perNewcomers, t.now()); wait > 0 {
		return ErrTooManyAttempts.Retry(wait)
	}
	return nil
}

// Joined counts a registration at an address.
func (t *Throttle) Joined(address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := network(address)
	joined, _ := t.newcomers.Get(key)
	t.newcomers.Add(key, joined.take(perNewcomers, t.now()))
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

// take takes a token, also one that is not there yet; but the wait for the next
// never grows past the time in which a whole burst comes back.
func (b bucket) take(l limit, now time.Time) bucket {
	fullAt, latest := b.fullAt, now.Add(time.Duration(2*l.burst-1)*l.every)
	if fullAt.Before(now) {
		fullAt = now
	}
	if fullAt = fullAt.Add(l.every); fullAt.After(latest) {
		fullAt = latest
	}
	return bucket{fullAt}
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
