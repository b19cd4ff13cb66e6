// Package bytelimit limits the bytes that requests hold in a replica's memory at the
// same time: rows that were read, responses that wait until their clients take them,
// and bodies that arrive slowly. A limit on connections does not do that, because
// one connection may hold a few hundred bytes or a few hundred kilobytes.
package bytelimit

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"lavka/libs/domain/problem"
)

// Free is the number of bytes that each claim holds for free. Requests that hold no
// more, such as purchases and payments, are never refused because of those that do.
const Free = 8 << 10

// shares is the number of callers that it takes to use up a limit.
const shares = 8

var errFull = problem.New(problem.Unavailable, "overloaded", "too many large requests or responses are in progress; the request was not processed; retry").Retry(time.Second)

// Limit is a number of bytes that many claims share. One caller gets at most an
// eighth of it, so that none can keep all others out.
type Limit struct {
	max int64

	mu      sync.Mutex
	held    int64
	callers map[string]int64 // bytes held, by caller
}

// New returns a Limit of max bytes.
func New(max int64) *Limit { return &Limit{max: max, callers: map[string]int64{}} }

// Max returns the limit, in bytes.
func (l *Limit) Max() int64 { return l.max }

// Held returns the number of bytes that all claims hold, without those that are free.
func (l *Limit) Held() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// Claim returns an empty claim of a caller. Close ends it.
func (l *Limit) Claim(caller string) *Claim { return &Claim{limit: l, caller: caller} }

// Claim is what one request holds. Its methods may be called concurrently.
type Claim struct {
	limit  *Limit
	caller string

	// Guarded by limit.mu:
	bytes  int64
	closed bool
}

// Grow adds n bytes. If the limit or the caller's share of it is used up, Grow adds
// nothing and returns the problem 503 "overloaded". A claim that is closed, or nil,
// holds nothing, and Grow does nothing.
func (c *Claim) Grow(n int) error {
	if c == nil {
		return nil
	}
	l := c.limit
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return nil
	}
	more := paid(c.bytes+int64(n)) - paid(c.bytes)
	if more > 0 && (l.held+more > l.max || l.callers[c.caller]+more > l.max/shares) {
		return errFull
	}
	c.bytes += int64(n)
	l.add(c.caller, more)
	return nil
}

// Reset gives everything back, and the claim can be used again. It does nothing if c is nil.
func (c *Claim) Reset() {
	if c == nil {
		return
	}
	l := c.limit
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.closed {
		l.add(c.caller, -paid(c.bytes))
		c.bytes = 0
	}
}

// Close gives everything back.
func (c *Claim) Close() {
	l := c.limit
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.closed {
		c.closed = true
		l.add(c.caller, -paid(c.bytes))
	}
}

// paid returns how many of a claim's bytes count.
func paid(bytes int64) int64 { return max(0, bytes-Free) }

func (l *Limit) add(caller string, n int64) {
	if n == 0 {
		return
	}
	l.held += n
	if l.callers[caller] += n; l.callers[caller] == 0 {
		delete(l.callers, caller)
	}
}

type key struct{}

// With returns a context that carries a claim.
func With(ctx context.Context, c *Claim) context.Context { return context.WithValue(ctx, key{}, c) }

// From returns the claim of a request, or nil, which can be used and holds nothing.
func From(ctx context.Context) *Claim {
	c, _ := ctx.Value(key{}).(*Claim)
	return c
}

// GrowJSON adds the JSON encoding of v to the claim of ctx.
func GrowJSON(ctx context.Context, v any) error {
	c := From(ctx)
	if c == nil {
		return nil
	}
	var n counter
	if err := json.NewEncoder(&n).Encode(v); err != nil {
		return err
	}
	return c.Grow(int(n) - len("\n"))
}

// counter counts the bytes written to it.
type counter int

func (n *counter) Write(p []byte) (int, error) {
	*n += counter(len(p))
	return len(p), nil
}
