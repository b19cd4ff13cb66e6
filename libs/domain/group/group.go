// Package group lets many callers share one transaction: what arrives while a
// group is being settled goes into the next one (group commit). Nothing waits
// for a timer, so an idle caller pays for no company; where a group may be held
// (see Config), it is for what is under way already.
package group

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// ErrFull means that the queue is full: the item was not taken and nothing
// will be done about it.
var ErrFull = errors.New("group: queue is full")

// ErrClosed means that the group takes no more items.
var ErrClosed = errors.New("group: closed")

// Config bounds a Group, and says how it is seen.
type Config struct {
	Name     string // of its spans, such as "settle group"
	Max      int    // items in one group; above zero
	Queue    int    // items that wait for a group; with zero, one is taken only while a worker is idle
	InFlight int    // groups that are settled at the same time; above zero, or none ever is

	// Hold, where set, says that a group of so many items had better wait for more.
	// It is asked again with each item that comes and by Recheck, and no group
	// waits for longer than HoldFor: with zero, none waits.
	Hold    func(items int) bool
	HoldFor time.Duration

	Sizes prometheus.Observer // of groups, in items; may be nil
	Waits prometheus.Observer // of items for their group, in seconds; may be nil
}

// Settle settles a group of items in order of arrival and returns one result
// for each, in the same order. Its ctx is the group's: it outlives whoever asked,
// and holds the group's span.
type Settle[T, R any] func(ctx context.Context, items []T) []R

// Group collects items and has them settled together.
type Group[T, R any] struct {
	cfg    Config
	settle Settle[T, R]
	queue  chan entry[T, R]
	done   sync.WaitGroup

	holding atomic.Int32  // workers that wait for more
	enough  chan struct{} // tells one of them that it need not

	mu     sync.RWMutex // held for reading while an entry goes into the queue
	closed bool
}

type entry[T, R any] struct {
	item  T
	done  func(R)
	since time.Time
	rider trace.Span // of who asked, where it is recorded
}

var tracer = otel.Tracer("lavka/libs/domain/group")

// New starts a Group; Close ends it. It does not check cfg, whose limits are
// constants of whoever calls.
func New[T, R any](cfg Config, settle Settle[T, R]) *Group[T, R] {
	g := &Group[T, R]{cfg: cfg, settle: settle, queue: make(chan entry[T, R], cfg.Queue), enough: make(chan struct{}, 1)}
	for range cfg.InFlight {
		g.done.Go(g.work)
	}
	return g
}

// Add puts an item in the queue; done is called once with its result, from the
// group's own goroutine, and must not block. It never waits: a full queue is
// ErrFull, a closed group ErrClosed, and then done is never called. Of ctx only
// its span counts: the group's and it refer to each other.
func (g *Group[T, R]) Add(ctx context.Context, item T, done func(R)) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.closed {
		return ErrClosed
	}
	select {
	case g.queue <- entry[T, R]{item, done, time.Now(), recorded(ctx)}:
		g.Recheck()
		return nil
	default:
		return ErrFull
	}
}

// Do adds an item and waits for its result. When ctx ends first, the item is
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

// Recheck asks Hold again, where a group waits for it.
func (g *Group[T, R]) Recheck() {
	if g.holding.Load() == 0 || g.hold() {
		return
	}
	select {
	case g.enough <- struct{}{}:
	default:
	}
}

// hold is asked when a worker has taken the first item of its group. A full one
// goes: what it waits for would not come along.
func (g *Group[T, R]) hold() bool {
	n := len(g.queue) + 1
	return n < g.cfg.Max && g.cfg.Hold(n)
}

// Waiting is the number of items in the queue.
func (g *Group[T, R]) Waiting() int { return len(g.queue) }

// Close takes no more items, settles those it has, and returns when all of
// their results have been handed over.
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
		ctx, span := g.begin(entries)
		results := g.settle(ctx, items)
		span.End()
		for i, r := range results {
			entries[i].done(r)
		}
	}
}

// await returns when Hold says no more that its group should wait, or after HoldFor.
func (g *Group[T, R]) await() {
	g.holding.Add(1)
	defer g.holding.Add(-1)
	timer := time.NewTimer(g.cfg.HoldFor)
	defer timer.Stop()
	for g.hold() { // what was told before may be out of date
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

func recorded(ctx context.Context) trace.Span {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		return span
	}
	return nil
}

// begin starts the span of a group. It is in the trace of the first item that is
// recorded, and linked to and from the others. Where none is, there is none.
func (g *Group[T, R]) begin(entries []entry[T, R]) (context.Context, trace.Span) {
	ctx := context.Background()
	var first trace.Span
	var links []trace.Link
	for _, e := range entries {
		switch {
		case e.rider == nil:
		case first == nil:
			first = e.rider
		default:
			links = append(links, trace.Link{SpanContext: e.rider.SpanContext()})
		}
	}
	if first == nil {
		return ctx, trace.SpanFromContext(ctx)
	}
	ctx, span := tracer.Start(trace.ContextWithSpan(ctx, first), g.cfg.Name,
		trace.WithLinks(links...), trace.WithAttributes(attribute.Int("lavka.group.size", len(entries))))
	for _, e := range entries {
		if e.rider != nil && e.rider != first {
			e.rider.AddLink(trace.Link{SpanContext: span.SpanContext()})
		}
	}
	return ctx, span
}

// fill takes what is waiting already, and waits for nothing.
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
