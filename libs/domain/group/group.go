// Package group lets many callers share one transaction (group commit): items
// that arrive while a group is being settled go into the next group. Nothing
// waits on a timer, so a lone caller is not delayed; a group is held back (see
// Config.Hold) only for work that is already in flight.
package group

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFull means that the queue is full: the item was not taken and will not be
// settled.
var ErrFull = errors.New("group: queue is full")

// ErrClosed means that the group takes no more items.
var ErrClosed = errors.New("group: closed")

// Config bounds a Group.
type Config struct {
	Max      int // items in one group; above zero
	Queue    int // items that wait for a group; with zero, an item is taken only while a worker is idle
	InFlight int // groups that are settled at the same time; above zero, or no group is ever settled

	// Hold, if set, reports whether a group of this many items should wait for
	// more. It is called again for each item that arrives and by Recheck. No
	// group waits longer than HoldFor: with zero, none waits.
	Hold    func(items int) bool
	HoldFor time.Duration

	Instruments
}

// Instruments make groups visible to an operator. Each may be nil.
type Instruments struct {
	Sizes  Observer // of groups, in items
	Waits  Observer // time that an item waits for its group, in seconds
	Tracer Tracer
}

// Observer takes measurements. A Prometheus histogram is one.
type Observer interface{ Observe(float64) }

// Tracer records the traces of groups. libs/service/grouptrace makes one that
// uses OpenTelemetry.
type Tracer interface {
	// Recorded reports whether the trace of ctx is recorded.
	Recorded(ctx context.Context) bool
	// Start starts the span of a group of size items. Callers are the contexts
	// of those items whose trace is recorded; there is at least one. It returns
	// the context of the group, and a function that ends the span.
	Start(callers []context.Context, size int) (context.Context, func())
}

// Settle settles a group of items in order of arrival and returns one result
// for each, in the same order. Its ctx is the group's: it outlives the callers'
// contexts, and carries the group's span.
type Settle[T, R any] func(ctx context.Context, items []T) []R

// Group collects items and settles them together.
type Group[T, R any] struct {
	cfg    Config
	settle Settle[T, R]
	queue  chan entry[T, R]
	done   sync.WaitGroup

	holding atomic.Int32  // workers that hold a group back
	enough  chan struct{} // tells one of them to check again

	mu     sync.RWMutex // held for reading while an entry goes into the queue
	closed bool
}

type entry[T, R any] struct {
	item   T
	done   func(R)
	since  time.Time
	caller context.Context // only if its trace is recorded, else nil
}

// New starts a Group; Close ends it. It does not validate cfg: callers pass
// constants.
func New[T, R any](cfg Config, settle Settle[T, R]) *Group[T, R] {
	g := &Group[T, R]{cfg: cfg, settle: settle, queue: make(chan entry[T, R], cfg.Queue), enough: make(chan struct{}, 1)}
	for range cfg.InFlight {
		g.done.Go(g.work)
	}
	return g
}

// Add puts an item in the queue and does not wait. The group calls done once
// with the item's result, from its own goroutine; done must not block. Add
// returns ErrFull if the queue is full and ErrClosed if the group is closed;
// then done is never called. The end of ctx changes nothing: the group uses it
// only to link its span to the caller's.
func (g *Group[T, R]) Add(ctx context.Context, item T, done func(R)) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.closed {
		return ErrClosed
	}
	select {
	case g.queue <- entry[T, R]{item, done, time.Now(), g.recorded(ctx)}:
		g.Recheck()
		return nil
	default:
		return ErrFull
	}
}

// Do adds an item and waits for its result. If ctx ends first, the item is
// settled all the same and its result is lost: the outcome is unknown.
func (g *Group[T, R]) Do(ctx context.Context, item T) (R, error) {
	result := make(chan R, 1)
	var none R
	if err := g.Add(ctx, item, func(r R) { result <- r }); err != nil {
		return none, err
	}
	select {
	case r := <-result:
		return r, nil
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// Recheck calls Hold again if a group is held back.
func (g *Group[T, R]) Recheck() {
	if g.holding.Load() == 0 || g.hold() {
		return
	}
	select {
	case g.enough <- struct{}{}:
	default:
	}
}

// hold reports whether the group whose first item a worker has taken should
// wait. A full group never waits: more items would not fit in.
func (g *Group[T, R]) hold() bool {
	n := len(g.queue) + 1
	return n < g.cfg.Max && g.cfg.Hold(n)
}

// Waiting returns the number of items in the queue.
func (g *Group[T, R]) Waiting() int { return len(g.queue) }

// Close takes no more items, settles those in the queue, and returns when all
// of their results have been delivered.
func (g *Group[T, R]) Close() {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		close(g.queue)
	}
	g.mu.Unlock()
	g.done.Wait()
}

func (g *Group[T, R]) work() {
	for first := range g.queue {
		if g.cfg.Hold != nil && g.hold() {
			g.await()
		}
		entries := g.fill([]entry[T, R]{first})
		g.observe(entries)
		items := make([]T, len(entries))
		for i, e := range entries {
			items[i] = e.item
		}
		ctx, end := g.trace(entries)
		results := g.settle(ctx, items)
		end()
		for i, r := range results {
			entries[i].done(r)
		}
	}
}

// await returns when Hold reports false, or after HoldFor.
func (g *Group[T, R]) await() {
	g.holding.Add(1)
	defer g.holding.Add(-1)
	timer := time.NewTimer(g.cfg.HoldFor)
	defer timer.Stop()
	for g.hold() { // an earlier signal may be out of date
		select {
		case <-g.enough:
		case <-timer.C:
			return
		}
	}
}

func (g *Group[T, R]) observe(entries []entry[T, R]) {
	if g.cfg.Sizes != nil {
		g.cfg.Sizes.Observe(float64(len(entries)))
	}
	if g.cfg.Waits != nil {
		for _, e := range entries {
			g.cfg.Waits.Observe(time.Since(e.since).Seconds())
		}
	}
}

func (g *Group[T, R]) recorded(ctx context.Context) context.Context {
	if g.cfg.Tracer != nil && g.cfg.Tracer.Recorded(ctx) {
		return ctx
	}
	return nil
}

// trace starts the group's span if the trace of any caller is recorded.
func (g *Group[T, R]) trace(entries []entry[T, R]) (context.Context, func()) {
	var callers []context.Context
	for _, e := range entries {
		if e.caller != nil {
			callers = append(callers, e.caller)
		}
	}
	if callers == nil {
		return context.Background(), func() {}
	}
	return g.cfg.Tracer.Start(callers, len(entries))
}

// fill adds the items that are already in the queue, and waits for none.
func (g *Group[T, R]) fill(entries []entry[T, R]) []entry[T, R] {
	for len(entries) < g.cfg.Max {
		select {
		case e, ok := <-g.queue:
			if !ok {
				return entries
			}
			entries = append(entries, e)
		default:
			return entries
		}
	}
	return entries
}
