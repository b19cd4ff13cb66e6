package auth

import (
	"context"
	"sync"
	"time"

	"lavka/libs/domain/problem"
)

const (
	// patience is how long a request may wait for its turn to hash.
	patience = 5 * time.Second
	// few is how many requests wait in any case, for each turn at a time. On a slow
	// machine, they may wait for longer than patience.
	few = 4
)

// ErrOverloaded guarantees that the request changed nothing. Its RetryAfter is the
// time after which the queue is expected to be short enough for one more request.
var ErrOverloaded = problem.New(problem.Unavailable, "overloaded", "too many passwords are waiting to be checked; the request was not processed; retry").Retry(time.Second)

// caller is the kind of request that needs a turn.
type caller int

const (
	member   caller = iota // claims to have an account
	newcomer               // registers, or requests a new link
)

// claim is who needs a turn.
type claim struct {
	as             caller
	address, login string
}

// newClaim returns a claim. Like the [Throttle], it unites the addresses of one
// client, and the logins that no user can have.
func newClaim(as caller, login, address string) claim {
	return claim{as, network(address), known(login)}
}

// turns lets a limited number of requests work at a time. The others wait. A request
// that is expected to wait longer than patience is refused immediately, unless only
// a few are before it.
//
// The addresses that wait take turns, and so do the logins of an address. A client
// that sends many requests thus delays mostly its own: a request from another
// address waits for at most one request of each address. This also bounds how many
// requests wait: the more an address has, the longer its next one would wait.
//
// Newcomers get at most half of the turns while members wait, so that a storm of
// registrations, which anyone can start, hardly delays logins.
type turns struct {
	atOnce   int
	patience time.Duration
	few      int
	now      func() time.Time

	mu      sync.Mutex
	running int
	lines   [2]*line // by caller
	last    caller   // the kind of the turn that began last
	owed    time.Duration
}

// newTurns returns turns for atOnce requests at a time. Took is the duration of a
// turn as far as it is known; it is adjusted to what is measured.
func newTurns(atOnce int, patience, took time.Duration, now func() time.Time) *turns {
	return &turns{atOnce: atOnce, patience: patience, few: few, now: now, lines: [2]*line{
		member:   {most: atOnce, took: took},
		newcomer: {most: max(1, atOnce/2), took: took},
	}}
}

// begin reports whether a turn may begin. If it returns false, the request waits at
// least until another turn ends; if it returns an error, the request is refused. It
// is called with the turns locked, so it must be fast.
type begin func() (bool, error)

func always() (bool, error) { return true, nil }

// enter waits for a turn and returns a function that ends it. It returns
// ErrOverloaded if the wait is, or is expected to be, longer than patience, the
// error of ctx if ctx ends first, and the error of may.
func (t *turns) enter(ctx context.Context, c claim, may begin) (end func(), err error) {
	w := &waiter{claim: c, may: may, began: make(chan error, 1)}
	t.push(w)
	if err := t.await(ctx, w); err != nil {
		return nil, err
	}
	start := t.now()
	return func() { t.end(c.as, t.now().Sub(start)) }, nil
}

func (t *turns) push(w *waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lines[w.as]
	wait, crowded := t.wait(w.claim), l.before(w.claim) >= t.few*l.most
	l.push(w)
	t.next()
	if wait > t.patience && crowded && l.remove(w) {
		w.began <- t.overloaded(wait)
	}
}

func (t *turns) await(ctx context.Context, w *waiter) error {
	patience := time.NewTicker(t.patience)
	defer patience.Stop()
	for {
		select {
		case err := <-w.began:
			return err
		case <-ctx.Done():
			t.leave(w, func() error { return ctx.Err() })
		case <-patience.C:
			t.leave(w, func() error {
				if t.lines[w.as].waiting <= t.few*t.lines[w.as].most {
					return nil
				}
				return t.overloaded(t.wait(w.claim))
			})
		}
	}
}

// leave refuses a waiter whose turn has not begun with the error of why, unless that
// is nil.
func (t *turns) leave(w *waiter, why func() error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := why(); err != nil && t.lines[w.as].remove(w) {
		w.began <- err
	}
}

// overloaded refuses a request that would have to wait for its turn for that long.
func (t *turns) overloaded(wait time.Duration) error {
	return ErrOverloaded.Retry(max(time.Second, wait-t.patience))
}

// yield leaves the processors to other requests for that long: the turn that ends next
// stays taken meanwhile, if requests wait for it and have the time.
func (t *turns) yield(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.owed += d
}

func (t *turns) end(as caller, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	pause := t.pause(took)
	if pause == 0 {
		t.free(as, took)
		return
	}
	time.AfterFunc(pause, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.free(as, took+pause)
	})
}

// pause returns for how long a turn stays taken after its end. With such turns, the
// requests that wait would all have theirs within half of patience, so that no
// request is refused for the sake of pauses.
func (t *turns) pause(took time.Duration) time.Duration {
	owed := t.owed
	t.owed = 0
	waiting := t.lines[member].waiting + t.lines[newcomer].waiting
	if waiting == 0 {
		return 0
	}
	longest := t.patience / 2 * time.Duration(t.atOnce) / time.Duration(waiting)
	return max(0, min(owed, longest-took))
}

func (t *turns) free(as caller, took time.Duration) {
	l := t.lines[as]
	l.running--
	t.running--
	// A moving average. A single turn that took very long, for example because the
	// process was stopped, counts as at most two.
	l.took += (min(took, 2*l.took) - l.took) / 8
	t.next()
}

// next begins turns, alternately of members and newcomers, until all are taken or
// no waiter may begin.
func (t *turns) next() {
	for t.running < t.atOnce {
		as := 1 - t.last
		if !t.lines[as].next() {
			as = t.last
			if !t.lines[as].next() {
				return
			}
		}
		t.last = as
		t.running++
	}
}

// wait estimates how long another request would wait for its turn.
func (t *turns) wait(c claim) time.Duration {
	own, other := t.lines[c.as], t.lines[1-c.as]
	n := own.before(c) + 1
	alone := time.Duration(n) * own.took / time.Duration(own.most)
	mixed := (time.Duration(n)*own.took + time.Duration(min(other.waiting, n))*other.took) / time.Duration(t.atOnce)
	return max(alone, mixed)
}

// waiting returns the number of requests that wait.
func (t *turns) waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lines[member].waiting + t.lines[newcomer].waiting
}
