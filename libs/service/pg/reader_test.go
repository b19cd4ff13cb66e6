package pg_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/problem"
	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
)

func TestReadsShareARoundTrip(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pool, err := pg.Open(t.Context(), db.AdminURL()+"&lock_timeout=60000", "test", 4) // the test decides how long the lock is held
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	r := pg.NewReader(pool)
	t.Cleanup(r.Close)
	busy := open(t, db)
	held, err := busy.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Rollback(context.WithoutCancel(t.Context()))
	if _, err := held.Exec(t.Context(), `SELECT pg_advisory_xact_lock(1)`); err != nil {
		t.Fatal(err)
	}
	// Both sessions wait for the lock, and all other reads for them.
	var all sync.WaitGroup
	const readers = 60
	transactions := make([]int64, readers)
	read := func(i int, sql string, args ...any) {
		all.Go(func() {
			found, err := pg.Collect(t.Context(), r, "read", pgx.RowTo[int64], sql, args...)
			if err != nil || len(found) != 1 {
				t.Errorf("%d: %v, %v", i, found, err)
				return
			}
			transactions[i] = found[0]
		})
	}
	waiting := func(want int) func() bool {
		return func() bool {
			var n int
			if err := busy.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&n); err != nil {
				t.Error(err)
			}
			return n == want
		}
	}
	for i := range 2 {
		read(i, `SELECT txid_current() FROM (SELECT pg_advisory_xact_lock_shared(1)) AS waited`)
		waittest.Eventually(t, "one more waits for the lock", waiting(i+1))
	}
	for i := 2; i < readers; i++ {
		if i%2 == 0 { // each by itself
			read(i, `SELECT txid_current() + 0 * $1::bigint`, int64(i))
		} else { // all the same
			read(i, `SELECT (1e15 * random())::bigint`)
		}
	}
	waittest.Eventually(t, "the others wait for them", func() bool { return r.Waiting() == readers-2 })
	if err := held.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	shared, same := map[int64]bool{}, map[int64]bool{}
	for i, n := range transactions {
		if i < 2 || i%2 == 0 {
			shared[n] = true
		} else {
			same[n] = true
		}
	}
	if len(shared) > 4 {
		t.Errorf("%d reads took %d transactions", readers, len(shared))
	}
	if len(same) > 2 {
		t.Errorf("the same was read %d times", len(same))
	}
}

// Each reader gets what is theirs, whatever becomes of the others.
func TestOneFailedReadFailsAlone(t *testing.T) {
	t.Parallel()
	r := pg.NewReader(open(t, pgtest.New(t)))
	t.Cleanup(r.Close)
	unreadable := errors.New("can't be scanned")
	left, leave := context.WithCancel(t.Context())
	leave()
	var all sync.WaitGroup
	for i := range 300 {
		all.Go(func() {
			ctx, divisor, scan := t.Context(), 1, pgx.RowTo[int]
			switch i % 10 {
			case 3:
				divisor = 0
			case 5:
				scan = func(pgx.CollectableRow) (int, error) { return 0, unreadable }
			case 7:
				ctx = left
			}
			found, err := pg.Collect(ctx, r, "divide", scan, `SELECT $1::int / $2::int FROM generate_series(1, 2)`, i, divisor)
			switch i % 10 {
			case 3:
				if pg.Code(err) != "22012" || problem.From(err).Kind != problem.Internal {
					t.Errorf("%d: %v", i, err)
				}
			case 5:
				if !errors.Is(err, unreadable) {
					t.Errorf("%d: %v", i, err)
				}
			case 7:
				if !errors.Is(err, pg.ErrUnavailable) {
					t.Errorf("%d: %v", i, err)
				}
			default:
				if err != nil || len(found) != 2 || found[0] != i || found[1] != i {
					t.Errorf("%d: %v, %v", i, found, err)
				}
			}
		})
	}
	all.Wait()
}

func TestAReaderThatIsClosed(t *testing.T) {
	t.Parallel()
	r := pg.NewReader(open(t, pgtest.New(t)))
	r.Close()
	_, err := pg.Collect(t.Context(), r, "read", pgx.RowTo[int], `SELECT 1`)
	if p := problem.From(err); p.Code != "overloaded" || p.RetryAfter == 0 {
		t.Errorf("%v", err)
	}
}

func TestReadsAreMeasured(t *testing.T) {
	t.Parallel()
	r := pg.NewReader(open(t, pgtest.New(t)))
	t.Cleanup(r.Close)
	registry := prometheus.NewRegistry()
	r.Measure(registry)
	for range 3 {
		if _, err := pg.Collect(t.Context(), r, "read", pgx.RowTo[int], `SELECT 1`); err != nil {
			t.Fatal(err)
		}
	}
	if h := gather(t, registry, "pg_read_group_size").Histogram; h.GetSampleCount() != 3 || h.GetSampleSum() != 3 {
		t.Errorf("%d groups of %v reads, want 3 of one", h.GetSampleCount(), h.GetSampleSum())
	}
	if h := gather(t, registry, "pg_read_group_wait_seconds").Histogram; h.GetSampleCount() != 3 {
		t.Errorf("%d reads have waited", h.GetSampleCount())
	}
}
