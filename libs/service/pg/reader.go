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
	"lavka/libs/service/grouptrace"
)

// Limits of reads that share a round trip.
const (
	readMax    = 64   // reads in one round trip
	readQueue  = 4096 // reads that wait for one
	readGroups = 2    // round trips in flight
	readLimit  = 6 * time.Second
)

var errManyReads = problem.New(problem.Unavailable, "overloaded", "too many reads are queued; retry").Retry(time.Second)

// Reader runs short reads in groups. Reads that arrive while others are in
// flight share the next round trip, which costs more than a short read itself;
// identical reads run once. Use it only for reads that an index answers at once:
// a slow read delays all others of its group. Other reads are for [Expensive].
type Reader struct {
	pool  *pgxpool.Pool
	group *group.Group[*read, error]
	sizes prometheus.Histogram
	waits prometheus.Histogram
}

// NewReader returns a Reader that uses two sessions of the pool. Close ends it.
func NewReader(pool *pgxpool.Pool) *Reader {
	r := &Reader{
		pool: pool,
		sizes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pg_read_group_size", Help: "Reads that shared a round trip.", Buckets: prometheus.ExponentialBuckets(1, 2, 7),
		}),
		waits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pg_read_group_wait_seconds", Help: "Time that a read waits for its group.", Buckets: prometheus.ExponentialBuckets(.001, 2, 13),
		}),
	}
	r.group = group.New(group.Config{
		Max: readMax, Queue: readQueue, InFlight: readGroups,
		Instruments: group.Instruments{Sizes: r.sizes, Waits: r.waits, Tracer: grouptrace.New("read group")},
	}, r.run)
	return r
}

// Measure registers the metrics of the groups.
func (r *Reader) Measure(registry prometheus.Registerer) { registry.MustRegister(r.sizes, r.waits) }

// Close takes no more reads and waits for those that have begun.
func (r *Reader) Close() { r.group.Close() }

// read is one statement.
type read struct {
	what string
	sql  string
	args []any
	take func(pgx.Rows) (any, error)
	done bool
	rows any   // of take
	err  error // of take, not of the server
}

// Collect runs a read and returns its rows, each scanned by scan. Its errors are
// those of [Wrap] and of the claim of ctx (see [bytelimit.From]), and 503
// "overloaded" if too many reads are queued. The args
// must be comparable. Callers of identical reads share the rows: do not modify
// them.
func Collect[T any](ctx context.Context, r *Reader, what string, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	one := &read{what: what, sql: sql, args: args, take: func(found pgx.Rows) (any, error) { return pgx.CollectRows(found, claimed(ctx, scan)) }}
	err, unasked := r.group.Do(ctx, one)
	if errors.Is(unasked, group.ErrFull) || errors.Is(unasked, group.ErrClosed) {
		return nil, errManyReads.Because(unasked)
	}
	if unasked != nil {
		return nil, Wrap(what, unasked) // the group may still write to one
	}
	if err != nil {
		return nil, Wrap(what, err)
	}
	return one.rows.([]T), nil
}

// CollectOne is [Collect] for a read of at most one row. Without a row it returns
// missing.
func CollectOne[T any](ctx context.Context, r *Reader, what string, missing error, scan pgx.RowToFunc[T], sql string, args ...any) (T, error) {
	var none T
	found, err := Collect(ctx, r, what, scan, sql, args...)
	switch {
	case err != nil:
		return none, err
	case len(found) == 0:
		return none, missing
	}
	return found[0], nil
}

func (r *Reader) run(ctx context.Context, reads []*read) []error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	err := r.together(ctx, reads)
	_, refused := errors.AsType[*pgconn.PgError](err)
	errs := make([]error, len(reads))
	for i, one := range reads {
		failed := err
		if !one.done && refused && len(reads) > 1 { // perhaps because of another read of the group
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
	same := make([]*read, len(reads)) // the first identical read
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
