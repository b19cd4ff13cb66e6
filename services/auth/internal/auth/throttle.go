package auth

import (
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"lavka/libs/domain/problem"
)

// Limits on attempts. Each replica counts for itself, in memory: an attacker gains
// a small factor (the number of replicas), and no login writes to a database.
var (
	// Enough for a user who mistypes a few times; a guesser gets 2,880 tries a day.
	perPair = limit{burst: 5, every: 30 * time.Second}
	// An office behind one address fails more often. This limit still prevents
	// trying one password on each of many logins.
	perAddress = limit{burst: 50, every: 2 * time.Second}
	// Registrations and new links. No address legitimately needs this many in an
	// hour; without a limit, a client could keep filling the table.
	perNewcomers = limit{burst: 5000, every: time.Second}
)

// throttled is the maximum number of pairs, and of addresses, kept in memory; the
// least recently used are evicted first. An address that has used up its own
// limit adds no more pairs, so evicting the rest takes thousands of addresses.
const throttled = 100_000

// decided is the Retry-After for a pair whose remaining tries are all in flight:
// by then their outcome is known.
const decided = time.Second

// Throttle limits failed attempts per pair of login and address, and per address.
// It does not limit a login across addresses, so an attacker can't lock the owner
// out. It also limits registrations per address.
type Throttle struct {
	now       func() time.Time
	mu        sync.Mutex
	pairs     *lru.LRU[pair, tries]
	addrs     *lru.LRU[string, bucket]
	newcomers *lru.LRU[string, bucket]
}

type pair struct{ login, address string }

// ErrTooManyAttempts refuses an attempt. Its RetryAfter is set to the time to wait.
var ErrTooManyAttempts = problem.New(problem.TooMany, "too_many_attempts", "too many attempts; retry after the time given in Retry-After")

// tries are the attempts of a pair.
type tries struct {
	failed   bucket
	inFlight int
}

// NewThrottle returns an empty Throttle.
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

// Attempt is an attempt that was admitted. The caller must end it.
type Attempt struct {
	t   *Throttle
	key pair
}

// Begin admits an attempt, or returns ErrTooManyAttempts with the time to wait.
// Only failures count, but an attempt in flight reserves one of its pair's tries,
// so that concurrent guesses get no more tries than sequential ones.
func (t *Throttle) Begin(login, address string) (Attempt, error) {
	if CheckLogin(login) != nil {
		login = "" // no user can have this login: all invalid logins share one count
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
	for range both.inFlight {
		left = left.take(perPair, now)
	}
	if left.wait(perPair, now) > 0 {
		return Attempt{}, ErrTooManyAttempts.Retry(decided)
	}
	both.inFlight++
	t.pairs.Add(key, both)
	return Attempt{t, key}, nil
}

// Outcome is how an attempt ends.
type Outcome int

// The outcomes.
const (
	Undecided Outcome = iota // the password was not checked; the attempt does not count
	Failed                   // the attempt counts
	Succeeded                // clears the pair's failures
)

// End releases the try that the attempt reserved, or counts it as a failure.
// Success does not clear the address's failures: otherwise an attacker could log
// in with an account of their own to reset the count of guesses at others.
func (a Attempt) End(outcome Outcome) {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	now := a.t.now()
	both, _ := a.t.pairs.Get(a.key)
	both.inFlight = max(0, both.inFlight-1) // the pair may have been evicted in the meantime
	switch outcome {
	case Failed:
		addr, _ := a.t.addrs.Get(a.key.address)
		a.t.addrs.Add(a.key.address, addr.take(perAddress, now))
		both.failed = both.failed.take(perPair, now)
	case Succeeded:
		both.failed = bucket{}
	}
	if both.inFlight == 0 && !both.failed.fullAt.After(now) {
		a.t.pairs.Remove(a.key)
		return
	}
	a.t.pairs.Add(a.key, both)
}

// MayJoin returns ErrTooManyAttempts if an address has used up its registrations.
func (t *Throttle) MayJoin(address string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	joined, _ := t.newcomers.Get(network(address))
	if wait := joined.wait(perNewcomers, t.now()); wait > 0 {
		return ErrTooManyAttempts.Retry(wait)
	}
	return nil
}

// Joined counts a registration from an address.
func (t *Throttle) Joined(address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := network(address)
	joined, _ := t.newcomers.Get(key)
	t.newcomers.Add(key, joined.take(perNewcomers, t.now()))
}

// limit allows burst attempts at once, and one more after each interval of every.
type limit struct {
	burst int
	every time.Duration
}

// bucket is a token bucket, represented by the time at which it is full again
// (GCRA). The zero bucket is full.
type bucket struct{ fullAt time.Time }

// wait returns the time until a token is available, 0 if one is available now.
func (b bucket) wait(l limit, now time.Time) time.Duration {
	if b.fullAt.Before(now) {
		return 0
	}
	return max(0, b.fullAt.Sub(now)-time.Duration(l.burst-1)*l.every)
}

// take takes a token even if none is available yet. The wait for the next one
// never exceeds the time in which a whole burst is refilled.
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

// network returns the range of addresses that one client controls: an IPv6 address
// becomes its /64, since a client is assigned a whole /64 and could use another
// address for each try.
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
