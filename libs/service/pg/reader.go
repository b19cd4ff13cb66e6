package pg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/group"
	"lavka/libs/domain/problem"
)

// Bounds of reads that share a round trip.
const (
	readMax    = 64   // in one
	readQueue  = 4096 // that wait for one
	readGroups = 2    // under way at the same time
	readLimit  = 6 * time.Second
)

var errManyReads = problem.New(problem.Unavailable, "overloaded", "too much is being read; try again").Retry(time.Second)

// Reader runs short reads in groups: those that arrive while others are under
// way go to the server together, since a round trip costs more than what such a
// read does, and those that ask for the same are one. It is for what an index
// finds at once: a slow one would hold up its company.
type Reader struct {
	pool  *pgxpool.Pool
	group *group.Group[*read, error]
	sizes prometheus.Histogram
	waits prometheus.Histogram
}

// NewReader makes a Reader; Close ends it. It uses two sessions of the pool.
func NewReader(pool *pgxpool.Pool) *Reader {
	r := &Reader{
		pool: pool,
		sizes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pg_read_group_size", Help: "Reads that went to the server together.", Buckets: prometheus.ExponentialBuckets(1, 2, 7),
		}),
		waits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pg_read_group_wait_seconds", Help: "Time that a read waits for its group.", Buckets: prometheus.ExponentialBuckets(.001, 2, 13),
		}),
	}
	r.group = group.New(group.Config{Name: "read group", Max: readMax, Queue: readQueue, InFlight: readGroups, Sizes: r.sizes, Waits: r.waits}, r.run)
	return r
}

// Measure adds metrics of its groups.
func (r *Reader) Measure(registry prometheus.Registerer) { registry.MustRegister(r.sizes, r.waits) }

// Close ends the reads that were begun, and takes no more.
func (r *Reader) Close() { r.group.Close() }

// read is one statement.
type read struct {
	what string
	sql  string
	args []any
	take func(pgx.Rows) (any, error)
	done bool
	rows any   // of take
	err  error // of take; the server has none
}

// Collect gives the rows of a read, each scanned as scan says. Its errors are
// those of [Fail], and 503 "overloaded" when too many wait. The args must be
// comparable. The rows may be others' too, who asked for the same what: nobody
// may change them.
func Collect[T any](ctx context.Context, r *Reader, what string, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	one := &read{what: what, sql: sql, args: args, take: func(found pgx.Rows) (any, error) { return pgx.CollectRows(found, scan) }}
	err, unasked := r.group.Do(ctx, one)
	if errors.Is(unasked, group.ErrFull) || errors.Is(unasked, group.ErrClosed) {
		return nil, errManyReads.Because(unasked)
	}
	if unasked != nil {
		return nil, Fail(what, unasked) // one is not ours any more
	}
	if err != nil {
		return nil, Fail(what, err)
	}
	return one.rows.([]T), nil
}

// Rows gives the rows of a statement that goes alone, in a pool's session or within
// a transaction, each scanned as scan says. Its errors are those of [Fail].
func Rows[T any](ctx context.Context, q querier, what string, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	found, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, Fail(what, err)
	}
	rows, err := pgx.CollectRows(found, scan)
	return rows, Fail(what, err)
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func (r *Reader) run(ctx context.Context, reads []*read) []error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	err := r.together(ctx, reads)
	_, refused := errors.AsType[*pgconn.PgError](err)
	errs := make([]error, len(reads))
	for i, one := range reads {
		failed := err
		if !one.done && refused && len(reads) > 1 { // perhaps only for the company that it was in
			failed = r.together(ctx, reads[i:i+1])
		}
		if errs[i] = one.err; !one.done {
			errs[i] = failed
		}
	}
	return errs
}

func (r *Reader) together(ctx context.Context, reads []*read) error {
	batch := &pgx.Batch{}
	var asked []*read
	same := make([]*read, len(reads)) // the first that asks for the same
	for i, one := range reads {
		if n := slices.IndexFunc(asked, one.sameAs); n >= 0 {
			same[i] = asked[n]
			continue
		}
		asked = append(asked, one)
		batch.Queue(one.sql, one.args...).Query(func(rows pgx.Rows) error {
			found, err := one.take(rows)
			if failed := rows.Err(); failed != nil {
				return failed
			}
			one.done, one.rows, one.err = true, found, err
			return nil
		})
	}
	err := r.pool.SendBatch(ctx, batch).Close()
	for i, first := range same {
		if first != nil {
			reads[i].done, reads[i].rows, reads[i].err = first.done, first.rows, first.err
		}
	}
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

func (r *read) sameAs(other *read) bool {
	return r.what == other.what && r.sql == other.sql && slices.Equal(r.args, other.args)
}
