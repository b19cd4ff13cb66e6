package pg_test

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/problem"
	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
)

type userKey struct{}

// as returns a context of a user's request.
func as(ctx context.Context, user int64) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

func openPools(t *testing.T, db pgtest.Database) *pg.Pools {
	t.Helper()
	u, err := url.Parse(db.AdminURL())
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("lock_timeout", "0") // reads that wait for a lock stand for long ones
	u.RawQuery = q.Encode()
	pools, err := pg.OpenPools(t.Context(), pg.PoolsConfig{URL: u.String(), Service: "test", Requests: 4, Caller: func(ctx context.Context) int64 {
		user, _ := ctx.Value(userKey{}).(int64)
		return user
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pools.Close)
	return pools
}

// held is a lock that reads wait for.
type held struct {
	tx   pgx.Tx
	pool *pgxpool.Pool
}

func hold(t *testing.T, db pgtest.Database) *held {
	t.Helper()
	pool := open(t, db)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	if _, err := tx.Exec(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_advisory_xact_lock(1)`); err != nil {
		t.Fatal(err)
	}
	return &held{tx, pool}
}

const waits = `SELECT 1 FROM (SELECT pg_advisory_xact_lock_shared(1)) AS waited`

// waiting returns how many reads wait for the lock.
func (h *held) waiting(t *testing.T) (n int) {
	t.Helper()
	if err := h.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func isOverloaded(err error) bool {
	p := problem.From(err)
	return p.Code == "overloaded" && p.Kind == problem.Unavailable && p.RetryAfter > 0
}

// However many expensive reads a user sends, one runs, and others have theirs.
func TestOneCallerDoesNotKeepOthersOut(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pools, lock := openPools(t, db), hold(t, db)
	registry := prometheus.NewRegistry()
	pools.Measure(registry, nil)
	greedy := as(t.Context(), 1)
	var all sync.WaitGroup
	var refused atomic.Int32
	for range 50 {
		all.Go(func() {
			_, err := pg.CollectExpensive(greedy, pools.Expensive, "search", pgx.RowTo[int], waits)
			if err != nil && !isOverloaded(err) {
				t.Error(err)
			}
			if err != nil {
				refused.Add(1)
			}
		})
	}
	waittest.Eventually(t, "all but one of the reads are refused", func() bool { return refused.Load() == 49 && lock.waiting(t) == 1 })
	if n := refusals(t, registry); n["caller"] == 0 || n["wait"] == 0 || n["caller"]+n["wait"] != 49 {
		t.Errorf("refused: %v, want most because of the caller's other reads, and those that may wait after a second", n)
	}
	found, err := pg.CollectExpensive(as(t.Context(), 2), pools.Expensive, "search", pgx.RowTo[int], `SELECT 7`)
	if err != nil || len(found) != 1 || found[0] != 7 {
		t.Errorf("another user's read: %v, %v", found, err)
	}
	if err := lock.tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if _, err := pg.CollectExpensive(greedy, pools.Expensive, "search", pgx.RowTo[int], `SELECT 7`); err != nil {
		t.Errorf("the same user, later: %v", err)
	}
}

// When all sessions for expensive reads are in use, others are refused within
// seconds, and short reads, writes and workers don't wait.
func TestExpensiveReadsDelayNothingElse(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pools, lock := openPools(t, db), hold(t, db)
	registry := prometheus.NewRegistry()
	pools.Measure(registry, nil)
	var all sync.WaitGroup
	var refused atomic.Int32
	for user := range int64(200) {
		all.Go(func() {
			_, err := pg.CollectExpensive(as(t.Context(), user+1), pools.Expensive, "search", pgx.RowTo[int], waits)
			if err != nil && !isOverloaded(err) {
				t.Error(err)
			}
			if err != nil {
				refused.Add(1)
			}
		})
	}
	waittest.Eventually(t, "two run", func() bool { return lock.waiting(t) == 2 })
	if _, err := pg.CollectOne(t.Context(), pools.Reads, "read", pgx.ErrNoRows, pgx.RowTo[int], `SELECT 1`); err != nil {
		t.Errorf("a short read: %v", err)
	}
	for name, pool := range map[string]*pgxpool.Pool{"a write": pools.Writes, "a worker": pools.Background} {
		if _, err := pool.Exec(t.Context(), `SELECT 1`); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The two take more than they may, which is two seconds.
	all.Wait()
	if n := refused.Load(); n != 200 {
		t.Errorf("%d were refused", n)
	}
	if n := refusals(t, registry); n["queue"] == 0 || n["wait"] == 0 || n["time"] != 2 || n["queue"]+n["wait"]+n["time"] != 200 {
		t.Errorf("refused: %v, want two for their time, some after a second, and most at once", n)
	}
}

// refusals returns how many expensive reads were refused, by reason.
func refusals(t *testing.T, registry *prometheus.Registry) map[string]int {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, f := range families {
		if f.GetName() != "pg_expensive_reads_refused_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			n[m.GetLabel()[0].GetValue()] = int(m.GetCounter().GetValue())
		}
	}
	return n
}

// Workers have sessions when requests use all of theirs.
func TestRequestsDoNotDelayWorkers(t *testing.T) {
	t.Parallel()
	pools := openPools(t, pgtest.New(t))
	for range 4 { // as many as requests may have
		conn, err := pools.Writes.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
	}
	limited, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := pools.Background.Exec(limited, `SELECT 1`); err != nil {
		t.Errorf("a worker: %v", err)
	}
	if _, err := pg.CollectExpensive(limited, pools.Expensive, "search", pgx.RowTo[int], `SELECT 7`); err != nil {
		t.Errorf("an expensive read: %v", err)
	}
}

// A caller who leaves does not free the session before the server has stopped
// working for the read.
func TestAnExpensiveReadWhoseCallerLeaves(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pools, lock := openPools(t, db), hold(t, db)
	for range 4 {
		ctx, leave := context.WithCancel(as(t.Context(), 1))
		left := make(chan error, 1)
		go func() {
			_, err := pg.CollectExpensive(ctx, pools.Expensive, "search", pgx.RowTo[int], waits)
			left <- err
		}()
		waittest.Eventually(t, "a read runs", func() bool { return lock.waiting(t) > 0 })
		leave()
		if err := <-left; err == nil {
			t.Error("a read without a caller returned")
		}
		if n := lock.waiting(t); n > 1 {
			t.Fatalf("%d reads of one caller run", n)
		}
	}
	if n := pools.Expensive.Sessions(); n > 1 {
		t.Errorf("%d sessions, want one", n)
	}
}

func TestSessionsOfExpensiveReads(t *testing.T) {
	t.Parallel()
	pools := openPools(t, pgtest.New(t))
	got, err := pg.CollectExpensive(t.Context(), pools.Expensive, "settings", pgx.RowTo[string],
		`SELECT concat_ws(' ', current_setting('statement_timeout'), current_setting('max_parallel_workers_per_gather'), current_setting('application_name'))`)
	if err != nil || got[0] != "2s 0 test expensive"+pg.ReleaseMark() {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := pg.CollectExpensive(t.Context(), pools.Expensive, "sleep", pgx.RowTo[string], `SELECT pg_sleep(60)::text`); !isOverloaded(err) || !strings.Contains(err.Error(), "57014") {
		t.Errorf("a read that takes too long: %v", err)
	}
}
