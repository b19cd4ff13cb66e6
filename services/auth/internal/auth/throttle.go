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
	// Requests to reset a password, each of which may send a message to the user.
	perReset        = limit{burst: 5, every: 5 * time.Minute}
	perResetAddress = limit{burst: 50, every: 10 * time.Second}
)

// throttled is the maximum number of pairs, and of addresses, kept in memory; the
// least recently used are evicted first. An address that has used up its own
// limit adds no more pairs, so evicting the rest takes thousands of addresses.
const throttled = 100_000

// decided is the Retry-After while all remaining registrations of an address are in
// flight: by then their outcome is known.
const decided = time.Second

// Throttle limits failed attempts per pair of login and address, and per address.
// It does not limit a login across addresses, so an attacker can't lock the owner
// out. It also limits registrations per address, and requests to reset a password.
type Throttle struct {
	now       func() time.Time
	mu        sync.Mutex
	pairs     *lru.LRU[pair, tries]
	addrs     *lru.LRU[string, tries]
	newcomers *lru.LRU[string, tries]

	resets     *lru.LRU[pair, tries]
	resetAddrs *lru.LRU[string, tries]
}

type pair struct{ login, address string }

// ErrTooManyAttempts refuses an attempt. Its RetryAfter is set to the time to wait.
var ErrTooManyAttempts = problem.New(problem.TooMany, "too_many_attempts", "too many attempts; retry after the time given in Retry-After")

// NewThrottle returns an empty Throttle.
func NewThrottle(now func() time.Time) (*Throttle, error) {
	pairs, err := lru.NewLRU[pair, tries](throttled, nil)
	if err != nil {
		return nil, err
	}
	addrs, err := lru.NewLRU[string, tries](throttled, nil)
	if err != nil {
		return nil, err
	}
	newcomers, err := lru.NewLRU[string, tries](throttled, nil)
	if err != nil {
		return nil, err
	}
	resets, err := lru.NewLRU[pair, tries](throttled, nil)
	if err != nil {
		return nil, err
	}
	resetAddrs, err := lru.NewLRU[string, tries](throttled, nil)
	if err != nil {
		return nil, err
	}
	return &Throttle{now: now, pairs: pairs, addrs: addrs, newcomers: newcomers, resets: resets, resetAddrs: resetAddrs}, nil
}

// Check returns ErrTooManyAttempts, with the time to wait, if a login or an address
// has no tries left.
func (t *Throttle) Check(login, address string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _, err := t.find(pairOf(login, address))
	return err
}

// Attempt is an attempt that was admitted. The caller must end it.
type Attempt struct {
	t   *Throttle
	key pair
}

// Begin admits an attempt, or returns the error of Check. Only failures count, but
// an attempt in flight reserves a try of its login and one of its address, so that
// concurrent guesses get no more tries than sequential ones. If all remaining tries
// are reserved, Begin returns false: retry when an attempt of the address has ended.
func (t *Throttle) Begin(login, address string) (Attempt, bool, error) {
	key := pairOf(login, address)
	t.mu.Lock()
	defer t.mu.Unlock()
	both, addr, err := t.find(key)
	if err != nil {
		return Attempt{}, false, err
	}
	now := t.now()
	if !both.free(perPair, now) || !addr.free(perAddress, now) {
		return Attempt{}, false, nil
	}
	both.inFlight++
	addr.inFlight++
	t.pairs.Add(key, both)
	t.addrs.Add(key.address, addr)
	return Attempt{t, key}, true, nil
}

// find returns the tries of a pair and those of its address.
func (t *Throttle) find(key pair) (both, addr tries, err error) {
	now := t.now()
	addr, _ = t.addrs.Get(key.address)
	both, _ = t.pairs.Get(key)
	if wait := max(addr.used.wait(perAddress, now, 0), both.used.wait(perPair, now, 0)); wait > 0 {
		err = ErrTooManyAttempts.Retry(wait)
	}
	return both, addr, err
}

// Outcome is how an attempt ends.
type Outcome int

// The outcomes.
const (
	Undecided Outcome = iota // the password was not checked; the attempt does not count
	Failed                   // the attempt counts
	Succeeded                // clears the pair's failures
)

// End releases the tries that the attempt reserved, or counts it as a failure.
// Success does not clear the address's failures: otherwise an attacker could log
// in with an account of their own to reset the count of guesses at others.
func (a Attempt) End(outcome Outcome) {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	now := a.t.now()
	both, _ := a.t.pairs.Get(a.key)
	addr, _ := a.t.addrs.Get(a.key.address)
	both, addr = both.end(perPair, now, outcome == Failed), addr.end(perAddress, now, outcome == Failed)
	if outcome == Succeeded {
		both.used = bucket{}
	}
	store(a.t.pairs, a.key, both, now)
	store(a.t.addrs, a.key.address, addr, now)
}

// Forgive clears the failures of a pair of a login and an address, from which its user
// has set a new password. Like success, it does not clear the address's failures.
func (t *Throttle) Forgive(login, address string) {
	key := pairOf(login, address)
	t.mu.Lock()
	defer t.mu.Unlock()
	both, _ := t.pairs.Get(key)
	both.used = bucket{}
	store(t.pairs, key, both, t.now())
}

// Join admits a registration from an address, or returns ErrTooManyAttempts. The
// caller must call end, and report whether the registration counts. One in flight
// reserves its place.
func (t *Throttle) Join(address string) (end func(counts bool), err error) {
	key := network(address)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	joined, _ := t.newcomers.Get(key)
	if wait := joined.used.wait(perNewcomers, now, 0); wait > 0 {
		return nil, ErrTooManyAttempts.Retry(wait)
	}
	if !joined.free(perNewcomers, now) {
		return nil, ErrTooManyAttempts.Retry(decided)
	}
	joined.inFlight++
	t.newcomers.Add(key, joined)
	return func(counts bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		now := t.now()
		joined, _ := t.newcomers.Get(key)
		store(t.newcomers, key, joined.end(perNewcomers, now, counts), now)
	}, nil
}

// Request counts a request to reset the password of a login from an address, or returns
// ErrTooManyAttempts. It is the same for a login that no user has.
func (t *Throttle) Request(login, address string) error {
	key := pairOf(login, address)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	both, _ := t.resets.Get(key)
	addr, _ := t.resetAddrs.Get(key.address)
	if wait := max(both.used.wait(perReset, now, 0), addr.used.wait(perResetAddress, now, 0)); wait > 0 {
		return ErrTooManyAttempts.Retry(wait)
	}
	both.used, addr.used = both.used.take(perReset, now), addr.used.take(perResetAddress, now)
	store(t.resets, key, both, now)
	store(t.resetAddrs, key.address, addr, now)
	return nil
}

func pairOf(login, address string) pair { return pair{known(login), network(address)} }

// known returns the form in which a login is counted. No user can have an invalid
// login, so all of those share one count.
func known(login string) string {
	if CheckLogin(login) != nil {
		return ""
	}
	return Fold(login)
}

// tries are the attempts of a pair or an address.
type tries struct {
	used     bucket
	inFlight int
}

// free reports whether a try is available that no attempt in flight has reserved.
func (t tries) free(l limit, now time.Time) bool { return t.used.wait(l, now, t.inFlight) == 0 }

// end ends an attempt in flight.
func (t tries) end(l limit, now time.Time, counts bool) tries {
	t.inFlight = max(0, t.inFlight-1) // t may have been evicted in the meantime
	if counts {
		t.used = t.used.take(l, now)
	}
	return t
}

// store stores tries, unless they are as good as new.
func store[K comparable](all *lru.LRU[K, tries], key K, t tries, now time.Time) {
	if t.inFlight == 0 && !t.used.fullAt.After(now) {
		all.Remove(key)
		return
	}
	all.Add(key, t)
}

// limit allows burst attempts at once, and one more after each interval of every.
type limit struct {
	burst int
	every time.Duration
}

// bucket is a token bucket, represented by the time at which it is full again
// (GCRA). The zero bucket is full.
type bucket struct{ fullAt time.Time }

// wait returns the time until a token is available besides those that are reserved,
// 0 if one is available now.
func (b bucket) wait(l limit, now time.Time, reserved int) time.Duration {
	missing := max(0, b.fullAt.Sub(now)) + time.Duration(reserved)*l.every
	return max(0, missing-time.Duration(l.burst-1)*l.every)
}

// take takes a token.
func (b bucket) take(l limit, now time.Time) bucket {
	if b.fullAt.Before(now) {
		return bucket{now.Add(l.every)}
	}
	return bucket{b.fullAt.Add(l.every)}
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
