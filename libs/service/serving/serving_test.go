package serving

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
)

func TestMain(m *testing.M) { pgtest.Main(m, pgtest.Config{}) }

func TestConclude(t *testing.T) {
	t.Parallel()
	p, at := Default, func(d time.Duration) *time.Duration { return &d }
	for name, c := range map[string]struct {
		seen   *time.Duration
		inUse  bool
		looked time.Duration
		want   state
	}{
		"a shop that starts from nothing":        {nil, false, 0, cold},
		"another replica works":                  {at(9 * time.Second), true, time.Hour, waiting},
		"the last one was seen a minute ago":     {at(time.Minute), true, 0, waiting},
		"the last one was seen longer ago":       {at(61 * time.Second), true, 0, cold},
		"and the shop has no data":               {at(9 * time.Second), false, 0, waiting},
		"perhaps the release before works":       {nil, true, 9 * time.Minute, waiting},
		"it would have been seen by now":         {nil, true, 10 * time.Minute, cold},
		"the database's clock was set back":      {at(-time.Hour), true, 0, cold},
		"a standby with a clock a little behind": {at(-3 * time.Second), true, 0, waiting},
	} {
		if got := conclude(c.seen, c.inUse, c.looked, p); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// shop is a schema with a table for the row, in a database of its own.
type shop struct {
	pool  *pgxpool.Pool
	inUse string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	pool, err := pg.Open(t.Context(), pgtest.New(t).AdminURL(), "test", 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s := &shop{pool, "true"}
	s.exec(t, `CREATE SCHEMA shop`)
	s.exec(t, `CREATE TABLE shop.serving (one boolean PRIMARY KEY DEFAULT true CHECK (one), seen_at timestamptz NOT NULL)`)
	return s
}

func (s *shop) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := s.pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// replica is a Gate that runs until the test ends.
type replica struct {
	*Gate
	met  chan struct{}
	log  *waittest.Text
	stop func()
}

func (s *shop) replica(t *testing.T) *replica {
	t.Helper()
	r := &replica{met: make(chan struct{}), log: &waittest.Text{}}
	r.Gate = New(Config{
		DB: s.pool, Schema: "shop", InUse: s.inUse, Log: slog.New(slog.NewTextHandler(r.log, nil)),
		Periods: Periods{Write: 20 * time.Millisecond, Fresh: time.Second, Unknown: 400 * time.Millisecond, Look: 5 * time.Millisecond, Remind: 50 * time.Millisecond},
		Needs:   []Need{{Name: "check tokens", Met: r.met, Why: func() error { return errors.New("wrong password") }}},
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	r.stop = func() { cancel(); running.Wait() }
	t.Cleanup(r.stop)
	return r
}

func (r *replica) ready() bool {
	return r.Ready(func(context.Context) error { return nil })(context.Background()) == nil
}

// A replica that can't work is unready while another one can, and serves when none has
// been able to for a while. Once it has been able to, it stays ready.
func TestUnreadyWhileAnotherReplicaCanWork(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	good := s.replica(t)
	close(good.met)
	waittest.Eventually(t, "the one that can is ready", good.ready)
	waittest.Eventually(t, "it has been seen", func() bool {
		var seen bool
		err := s.pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM shop.serving)`).Scan(&seen)
		return err == nil && seen
	})
	bad := s.replica(t)
	registry := prometheus.NewRegistry()
	bad.Measure(registry)
	waittest.Eventually(t, "the log says why it is not ready", func() bool {
		if bad.ready() {
			t.Fatal("ready while another one can, and it can't")
		}
		return strings.Contains(bad.log.String(), "another one can") && strings.Contains(bad.log.String(), "wrong password")
	})
	good.stop()
	waittest.Eventually(t, "the cold start", bad.ready)
	if bad.Lacks() != "can't check tokens (wrong password)" {
		t.Errorf("lacks %q", bad.Lacks())
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
		# HELP serving_cold_start 1 while this replica is ready although it has never been able to do all of its work, because no replica is.
		# TYPE serving_cold_start gauge
		serving_cold_start 1
	`), "serving_cold_start"); err != nil {
		t.Error(err)
	}
	waittest.Eventually(t, "the log repeats it", func() bool {
		return strings.Count(bad.log.String(), "serving what works") > 2
	})
	better := s.replica(t)
	close(better.met)
	waittest.Eventually(t, "it makes way for one that can", func() bool { return !bad.ready() })
	close(bad.met)
	waittest.Eventually(t, "it can, too", bad.ready)
	better.stop()
	s.exec(t, `DROP TABLE shop.serving`) // nothing that others do matters to it any more
	if !bad.ready() || bad.Lacks() != "" {
		t.Error("unready, although it could work once")
	}
}

// Without a row, others may be of a release that writes none: with data, a replica waits
// longer, and in an empty shop not at all.
func TestReadinessWithoutARow(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	begin := time.Now()
	r := s.replica(t)
	waittest.Eventually(t, "the cold start", r.ready)
	if waited := time.Since(begin); waited < 400*time.Millisecond {
		t.Errorf("a cold start after %v, beside the release before", waited)
	}
	s.inUse = "false"
	waittest.Eventually(t, "an empty shop does not wait", s.replica(t).ready)
	r = s.replica(t)
	close(r.met)
	waittest.Eventually(t, "neither does one that can", r.ready)
}
