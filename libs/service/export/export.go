// Package export writes lists of any length as CSV or NDJSON (docs/adr/0078). A replica
// holds one page of each export at a time, and a Postgres session only while that page
// is read. The last record says that the export is complete, and how many items it has.
package export

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/problem"
	"lavka/libs/service/bytelimit"
	"lavka/libs/service/connlimit"
)

// Limits of a replica.
const (
	perReplica = 8    // exports at once
	perUser    = 2    // of them, of one user
	pageSize   = 1000 // items
)

// PageTimeout is how long a client may need to take a page, on average. An export as a
// whole has no time limit.
const PageTimeout = 30 * time.Second

// StallTimeout is how long a client may take nothing: time that it did not need for
// earlier pages is added. A proxy in front takes several pages at once, and then none
// until its client has taken most of them. And what a full receiver drops, TCP sends
// again only after a pause that doubles, to two minutes at most (RFC 6298, section 5).
// Proxies must give their own clients at least PageTimeout.
const StallTimeout = (1 + savedPages) * PageTimeout

const savedPages = 4 // times PageTimeout is what can be saved at most

const retryPause = 250 * time.Millisecond // between tries to read a page

var (
	errManyOfUser = problem.New(problem.TooMany, "too_many_exports", "you have two exports in progress; wait for one of them").Retry(5 * time.Second)
	errMany       = problem.New(problem.Unavailable, "overloaded", "too many exports are in progress; retry").Retry(5 * time.Second)
)

// Exporter limits the exports of a replica. Its methods may be called concurrently.
type Exporter struct {
	caller      func(context.Context) int64
	pageTimeout time.Duration
	running     prometheus.Gauge
	outcomes    *prometheus.CounterVec
	pace        pace

	mu      sync.Mutex
	all     int
	callers map[int64]int
}

// New returns an Exporter with the limits of a replica. caller returns the id of the
// user whose request a context belongs to. A pageTimeout of 0 is PageTimeout.
func New(caller func(context.Context) int64, pageTimeout time.Duration, registry prometheus.Registerer) *Exporter {
	if pageTimeout == 0 {
		pageTimeout = PageTimeout
	}
	e := &Exporter{
		caller: caller, pageTimeout: pageTimeout, pace: newPace(), callers: map[int64]int{},
		running: prometheus.NewGauge(prometheus.GaugeOpts{Name: "http_server_exports", Help: "Exports in progress."}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_server_exports_total", Help: "Exports, by outcome: completed, refused (too many), cut_off (the client took too long, or left), failed.",
		}, []string{"outcome"}),
	}
	for _, outcome := range []string{"completed", "refused", "cut_off", "failed"} {
		e.outcomes.WithLabelValues(outcome) // a rate needs a zero to start from
	}
	registry.MustRegister(e.running, e.outcomes)
	return e
}

func (e *Exporter) begin(ctx context.Context) (done func(), err error) {
	id := e.caller(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.callers[id] >= perUser {
		return nil, errManyOfUser
	}
	if e.all >= perReplica {
		return nil, errMany
	}
	e.all++
	e.callers[id]++
	e.running.Inc()
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.all--
		if e.callers[id]--; e.callers[id] == 0 {
			delete(e.callers, id)
		}
		e.running.Dec()
	}, nil
}

// Write writes the export that ctx asks for (see [With]). next returns the items after
// one, or the first ones after nil, at most as many as limit says; it is the end if
// they are fewer. Before the first byte, Write returns the errors of next, and the
// problems 429 "too_many_exports" (two of one user) and 503 "overloaded" (eight in all).
// After that it can only break the connection off, without the last record.
func Write[T any](ctx context.Context, e *Exporter, w http.ResponseWriter, table Table[T], next func(ctx context.Context, after *T, limit int) ([]T, error)) error {
	done, err := e.begin(ctx)
	if err != nil {
		e.outcomes.WithLabelValues("refused").Inc()
		return err
	}
	defer done()
	request := ctx.Value(key{}).(asked)
	if request.head {
		w.Header().Set("Content-Type", contentTypes[request.format])
		w.WriteHeader(http.StatusOK)
		return nil
	}
	pages := &pages[T]{next: next, pace: &e.pace}
	pages.encoder = newEncoder(request.format, table, &pages.buffer)
	if err := pages.read(ctx); err != nil {
		e.outcomes.WithLabelValues("failed").Inc()
		return err
	}
	w.Header().Set("Content-Type", contentTypes[request.format])
	to := http.NewResponseController(w)
	defer connlimit.Patient(ctx, (1+savedPages)*e.pageTimeout)()
	err = write(ctx, e, w, to, pages)
	switch {
	case err == nil:
		e.outcomes.WithLabelValues("completed").Inc()
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded), ctx.Err() != nil, errors.As(err, new(*takenError)):
		e.outcomes.WithLabelValues("cut_off").Inc()
	default:
		e.outcomes.WithLabelValues("failed").Inc()
	}
	// The client must not take what it has for a complete response of HTTP either: what
	// the server still has to write fails, and it closes the connection.
	_ = to.SetWriteDeadline(time.Unix(1, 0))
	return err
}

// takenError is that of a client that has not taken a page.
type takenError struct{ error }

func (e *takenError) Unwrap() error { return e.error }

func write[T any](ctx context.Context, e *Exporter, w http.ResponseWriter, to *http.ResponseController, pages *pages[T]) error {
	for saved := time.Duration(0); ; {
		began := time.Now()
		if err := send(w, to, &pages.buffer, began.Add(e.pageTimeout+saved)); err != nil {
			return &takenError{err}
		}
		saved = max(0, min(saved+e.pageTimeout-time.Since(began), savedPages*e.pageTimeout))
		bytelimit.From(ctx).Reset()
		if pages.over {
			return nil
		}
		if err := again(ctx, e.pageTimeout, func() error { return pages.read(ctx) }); err != nil {
			return err
		}
	}
}

// pages are what is left of an export.
type pages[T any] struct {
	next    func(ctx context.Context, after *T, limit int) ([]T, error)
	pace    *pace
	encoder encoder[T]
	buffer  bytes.Buffer // the page that was read, encoded

	last  *T // the last item that was read
	items int
	over  bool // there are no further pages
}

// read reads the next page into the buffer, when it is this export's turn.
func (p *pages[T]) read(ctx context.Context) error {
	done, err := p.pace.turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	page, err := p.next(ctx, p.last, pageSize)
	if err != nil {
		return err
	}
	if p.last == nil {
		if err := p.encoder.begin(); err != nil {
			return err
		}
	}
	for _, item := range page {
		if err := p.encoder.row(item); err != nil {
			return err
		}
	}
	p.items += len(page)
	if p.over = len(page) < pageSize; p.over {
		return p.encoder.end(p.items)
	}
	p.last = &page[len(page)-1]
	return nil
}

// send writes a page and waits until the client, or the operating system for it, has
// taken it.
func send(w http.ResponseWriter, to *http.ResponseController, page *bytes.Buffer, deadline time.Time) error {
	// A test's recorder has no deadlines.
	if err := to.SetWriteDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := page.WriteTo(w); err != nil {
		return err
	}
	return to.Flush()
}

// again reads a page, and retries while the database is busy or unreachable: the client
// would have to begin again.
func again(ctx context.Context, limit time.Duration, read func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := read()
		var p *problem.Error
		if err == nil || !errors.As(err, &p) || p.Kind != problem.Unavailable || time.Now().After(deadline) {
			return err
		}
		bytelimit.From(ctx).Reset()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryPause):
		}
	}
}
