// Package complete finds out up to which time a list of rows is complete: no row with
// an earlier time will ever appear in it (docs/adr/0074). A reader who takes what is
// before that time, and next time what is after it, skips no row.
//
// Without this, rows are skipped: a transaction takes the time of its row, and others
// see the row only after its COMMIT, which may wait for a standby while later rows
// appear.
//
// It holds for rows whose writers have a transaction id before they take the row's time,
// in this database, by its clock, such as clock_timestamp() after a row was locked.
package complete

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/pg"
)

const (
	every  = time.Second // from one reading to the next
	limit  = 5 * time.Second
	margin = time.Second // by which the clock may step back unnoticed
	dense  = 512         // marks are at most this part of what they span apart
)

var (
	errStandby = errors.New("this server is a standby")

	incomplete = prometheus.NewDesc("lists_incomplete_seconds", "Seconds by which complete_until is behind the database's clock.", nil, nil)
	behind     = prometheus.NewDesc("lists_clock_behind_seconds", "Seconds by which the database's clock is behind its own latest time.", nil, nil)
)

// mark says that transactions with this id or a later one take their times after at.
type mark struct {
	at time.Time
	id uint64
}

// Worker finds the time. Run must run while the replica serves.
type Worker struct {
	db    pg.Querier
	log   *slog.Logger
	clock func(context.Context) (time.Time, error) // the database's

	mu      sync.Mutex
	pending []mark    // in order of id; the transactions before them have not all ended yet
	until   time.Time // zero if it is not known yet
	highest time.Time // that the clock has shown
	last    time.Time // that the clock has shown
	read    time.Time // when that was, by this process's clock
	began   time.Time
	known   chan struct{} // closed when until is known
}

// New returns a Worker that reads from a primary, with the sessions that read the lists'
// pages or others of the same server.
func New(db pg.Querier, log *slog.Logger) *Worker {
	w := &Worker{db: db, log: log, began: time.Now(), known: make(chan struct{})}
	w.clock = w.databaseClock
	return w
}

// Until returns the time before which all rows are there, for a page that is read
// afterwards. It is nil until the first reading after the start of the process. It never
// goes back.
func (w *Worker) Until() *time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.until.IsZero() {
		return nil
	}
	until := w.until
	return &until
}

// Await is Until for a response that needs the time: it waits until it is known, which
// takes a second or two after the start of the process, or until ctx ends.
func (w *Worker) Await(ctx context.Context) *time.Time {
	select {
	case <-w.known:
	case <-ctx.Done():
	}
	return w.Until()
}

// Run takes a reading once a second, until ctx ends.
func (w *Worker) Run(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for failing := false; ; {
		err := w.once(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			w.log.WarnContext(ctx, "can't read up to when lists are complete; retrying", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// once takes a reading, in three statements, each a transaction of its own. The id comes
// after the time: a transaction with a later id takes its time later too. The id is the
// transaction's own: a snapshot's upper bound is only above the ids that have ended. Once
// all lower ids have ended, every row of theirs is seen by each later statement, and
// also if its COMMIT waited for a standby or its session was terminated meanwhile.
func (w *Worker) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	at, err := w.clock(ctx)
	if err != nil {
		return err
	}
	// This transaction writes nothing, and so waits for no disk and no standby.
	id, err := one[int64](ctx, w.db, `SELECT pg_current_xact_id()::text::bigint`)
	if err != nil {
		return err
	}
	w.remember(mark{at, uint64(id)})
	oldest, err := one[*int64](ctx, w.db, `SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_snapshot_xmin(pg_current_snapshot())::text::bigint END`)
	if err != nil {
		return err
	}
	if oldest == nil {
		return errStandby
	}
	w.advance(uint64(*oldest))
	return nil
}

func (w *Worker) databaseClock(ctx context.Context) (time.Time, error) {
	return one[time.Time](ctx, w.db, `SELECT clock_timestamp()`)
}

func one[T any](ctx context.Context, db pg.Querier, sql string) (T, error) {
	return pg.One(ctx, db, "read up to when lists are complete", pgx.ErrNoRows, pgx.RowTo[T], sql)
}

// remember keeps a mark, and drops marks that don't hold any more: those of times that
// the clock has yet to show again, after it has stepped back, since rows with earlier
// times will still come; and those of a server whose ids were ahead of this one's.
func (w *Worker) remember(m mark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last, w.read = m.at, time.Now()
	if m.at.After(w.highest) {
		w.highest = m.at
	}
	w.pending = slices.DeleteFunc(w.pending, func(p mark) bool { return p.at.After(m.at) || p.id >= m.id })
	// While a transaction stays open for hours, the newest mark takes the place of the
	// one before it, unless that is far enough from its own predecessor.
	if n := len(w.pending); n >= 2 && w.pending[n-1].at.Sub(w.pending[n-2].at) < m.at.Sub(w.pending[0].at)/dense {
		w.pending = w.pending[:n-1]
	}
	w.pending = append(w.pending, m)
}

// advance moves until to the latest mark before which all transactions have ended: those
// with an id below oldest have.
func (w *Worker) advance(oldest uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for ; n < len(w.pending) && w.pending[n].id <= oldest; n++ {
		if until := w.pending[n].at.Add(-margin); until.After(w.until) {
			if w.until.IsZero() {
				close(w.known)
			}
			w.until = until
		}
	}
	w.pending = w.pending[n:]
}

// Describe implements prometheus.Collector.
func (w *Worker) Describe(descs chan<- *prometheus.Desc) {
	descs <- incomplete
	descs <- behind
}

// Collect implements prometheus.Collector.
func (w *Worker) Collect(metrics chan<- prometheus.Metric) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lag := time.Since(w.began)
	if !w.until.IsZero() {
		lag = w.last.Sub(w.until) + time.Since(w.read)
	}
	metrics <- prometheus.MustNewConstMetric(incomplete, prometheus.GaugeValue, max(lag, 0).Seconds())
	metrics <- prometheus.MustNewConstMetric(behind, prometheus.GaugeValue, w.highest.Sub(w.last).Seconds())
}
