package pg

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/problem"
)

// Limits of expensive reads, in each replica.
const (
	expensiveSessions = 2               // reads at the same time
	expensiveQueue    = 64              // reads that wait for a session, of all callers
	expensiveEach     = 4               // reads of one caller; one runs, the others wait
	expensiveWait     = time.Second     // for a session
	expensiveLimit    = 4 * time.Second // for the read itself; the server's own limit is shorter
)

var (
	errManyExpensive = problem.New(problem.Unavailable, "overloaded", "too many searches or large lists are queued; retry").Retry(time.Second)
	errManyOfCaller  = problem.New(problem.Unavailable, "overloaded", "too many of your searches or large lists are in progress; wait for them, then retry").Retry(time.Second)
	errTooExpensive  = problem.New(problem.Unavailable, "overloaded", "this search or list took too long; narrow it, or retry later").Retry(5 * time.Second)
)

// Expensive runs reads whose cost grows with what is stored: searches, filtered
// lists that no index has in their order, and large answers. They have a small
// pool of their own, so that no number of them delays anything else. A caller
// runs one read at a time and has at most four, so that one caller can't keep the
// others out; at most 64 wait, each for at most a second.
type Expensive struct {
	pool    *pgxpool.Pool
	caller  func(context.Context) int64
	refused *prometheus.CounterVec

	sessions chan struct{} // one for each read that runs
	mu       sync.Mutex
	callers  map[int64]*turns // those that have a read
	reads    int              // of all callers
}

// turns are the reads of one caller.
type turns struct {
	reads   int
	running chan struct{} // holds one element while a read has its turn
}

// NewExpensive returns an Expensive that uses two sessions of the pool. caller
// returns the id of the user whose request a context belongs to; all contexts with
// the same id share one caller's limits.
func NewExpensive(pool *pgxpool.Pool, caller func(context.Context) int64) *Expensive {
	e := &Expensive{
		pool: pool, caller: caller, sessions: make(chan struct{}, expensiveSessions), callers: map[int64]*turns{},
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pg_expensive_reads_refused_total", Help: "Expensive reads that were refused, by reason.",
		}, []string{"reason"}),
	}
	for _, reason := range []string{"caller", "queue", "wait", "time"} {
		e.refused.WithLabelValues(reason) // a rate needs a zero to start from
	}
	return e
}

// Measure registers a counter of refused reads.
func (e *Expensive) Measure(registry prometheus.Registerer) { registry.MustRegister(e.refused) }

// CollectExpensive runs a read and returns its rows, each scanned by scan. Its
// errors are those of [Wrap], and 503 "overloaded" if the caller has four reads
// already, if too many reads are queued, if no session is free within a second, or
// if the read takes longer than two.
func CollectExpensive[T any](ctx context.Context, e *Expensive, what string, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	return expensively(ctx, e, what, func(ctx context.Context) ([]T, error) {
		return Rows(ctx, e.pool, what, scan, sql, args...)
	})
}

// Search is [CollectExpensive] for a read of several statements, in a transaction:
// settings that it changes with SET LOCAL end with it. Each statement may take two
// seconds.
func Search[T any](ctx context.Context, e *Expensive, what string, read func(context.Context, *Tx) ([]T, error)) ([]T, error) {
	return expensively(ctx, e, what, func(ctx context.Context) (rows []T, err error) {
		err = InTx(ctx, e.pool, func(tx *Tx) error {
			rows, err = read(ctx, tx)
			return err
		})
		return rows, Wrap(what, err)
	})
}

// expensively runs a read when a session is free.
func expensively[T any](ctx context.Context, e *Expensive, what string, read func(context.Context) ([]T, error)) ([]T, error) {
	done, err := e.begin(ctx)
	if err != nil {
		return nil, Wrap(what, err)
	}
	type outcome struct {
		rows []T
		err  error
	}
	result := make(chan outcome, 1)
	// A caller who leaves does not end the read: to cancel it would close the
	// session while the server still works for it, and so permit more work at a time
	// than there are sessions.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), expensiveLimit)
	go func() {
		defer done()
		defer cancel()
		rows, err := read(limited)
		if Code(err) == queryCanceled {
			err = e.refuse("time", errTooExpensive.Because(err))
		}
		result <- outcome{rows, err}
	}()
	select {
	case r := <-result:
		return r.rows, r.err
	case <-ctx.Done():
		return nil, Wrap(what, ctx.Err())
	}
}

// begin waits for the caller's turn and then for a session. done gives both back.
func (e *Expensive) begin(ctx context.Context) (done func(), err error) {
	id := e.caller(ctx)
	own, err := e.enter(id)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, expensiveWait)
	defer cancel()
	select {
	case own.running <- struct{}{}:
	case <-limited.Done():
		e.leave(id)
		return nil, e.late(ctx)
	}
	select {
	case e.sessions <- struct{}{}:
	case <-limited.Done():
		<-own.running
		e.leave(id)
		return nil, e.late(ctx)
	}
	return func() {
		<-e.sessions
		<-own.running
		e.leave(id)
	}, nil
}

func (e *Expensive) late(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return e.refuse("wait", errManyExpensive)
}

func (e *Expensive) enter(id int64) (*turns, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	own := e.callers[id]
	switch {
	case own != nil && own.reads >= expensiveEach:
		return nil, e.refuse("caller", errManyOfCaller)
	case e.reads >= expensiveQueue+expensiveSessions:
		return nil, e.refuse("queue", errManyExpensive)
	case own == nil:
		own = &turns{running: make(chan struct{}, 1)}
		e.callers[id] = own
	}
	own.reads++
	e.reads++
	return own, nil
}

func (e *Expensive) leave(id int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	own := e.callers[id]
	own.reads--
	e.reads--
	if own.reads == 0 {
		delete(e.callers, id)
	}
}

func (e *Expensive) refuse(reason string, err error) error {
	e.refused.WithLabelValues(reason).Inc()
	return err
}
