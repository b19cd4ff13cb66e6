package complete

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{
		Setup: func(ctx context.Context, adminURL string) error {
			conn, err := pgx.Connect(ctx, adminURL)
			if err != nil {
				return err
			}
			defer conn.Close(ctx)
			if _, err := conn.Exec(ctx, `
				CREATE ROLE reader LOGIN; CREATE ROLE writer LOGIN;
				CREATE TABLE public.rows (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL);
				GRANT SELECT ON public.rows TO reader; GRANT SELECT, INSERT ON public.rows TO writer`); err != nil {
				return err
			}
			for _, role := range []string{"reader", "writer"} {
				if _, err := pgtest.RoleURL(ctx, adminURL, role); err != nil {
					return err
				}
			}
			return nil
		},
		Settings: map[string]string{"synchronous_standby_names": "nobody"}, // a standby that does not exist; it matters only where synchronous_commit is on
	})
}

// list is a table of rows with a reader who follows it.
type list struct {
	*Worker
	db    pgtest.Database
	reads *pgxpool.Pool
	admin *pgx.Conn

	from time.Time // up to where the reader has read
	seen map[int64]bool
}

// No test here is parallel: one test's open transaction would hold back the others, since ids are
// those of the whole server.
func newList(t *testing.T) *list {
	t.Helper()
	db := pgtest.New(t)
	reads, err := pg.Open(t.Context(), db.URL("reader"), "reader", 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reads.Close)
	return &list{Worker: New(reads, slog.New(slog.DiscardHandler)), db: db, reads: reads, admin: pgtest.Connect(t, db.AdminURL()), seen: map[int64]bool{}}
}

// follow takes a reading and reads what is new up to it, as a reader of the list does.
func (l *list) follow(t *testing.T) {
	t.Helper()
	if err := l.once(t.Context()); err != nil {
		t.Fatal(err)
	}
	until := l.Until()
	if until == nil {
		return
	}
	if until.Before(l.from) {
		t.Fatalf("it went back from %v to %v", l.from, *until)
	}
	found, err := pg.Rows(t.Context(), l.reads, "read", pgx.RowTo[int64], `SELECT n FROM rows WHERE at >= $1 AND at < $2`, l.from, *until)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range found {
		l.seen[n] = true
	}
	l.from = *until
}

// add writes a row as its writer must: first the id, then the time.
const add = `INSERT INTO public.rows (at) SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END RETURNING n, at`

// A COMMIT that waits for a standby leaves its row unseen, while rows with later times are seen.
func TestARowWhoseCommitIsHeld(t *testing.T) {
	for name, c := range map[string]struct{ end, role string }{
		"until it is cancelled":         {"pg_cancel_backend", "writer"},
		"until its session is ended":    {"pg_terminate_backend", "writer"},
		"by the superuser, then ended":  {"pg_terminate_backend", ""},
		"by the reader's role, as well": {"pg_cancel_backend", "reader"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newList(t)
			url := l.db.AdminURL()
			if c.role != "" {
				url = l.db.URL(c.role)
			}
			if _, err := l.admin.Exec(t.Context(), `GRANT INSERT ON rows TO reader`); err != nil {
				t.Fatal(err)
			}
			held, quick := pgtest.Connect(t, url), pgtest.Connect(t, l.db.AdminURL())
			if _, err := held.Exec(t.Context(), `SET synchronous_commit = on`); err != nil {
				t.Fatal(err)
			}
			tx, err := held.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var n int64
			var at time.Time
			if err := tx.QueryRow(t.Context(), add).Scan(&n, &at); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = tx.Commit(context.WithoutCancel(t.Context())) // its outcome depends on how the wait ends
			}()
			const waiting = `FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'`
			waittest.Eventually(t, "the COMMIT waits for the standby", func() bool {
				var waits bool
				if err := l.admin.QueryRow(t.Context(), `SELECT EXISTS (SELECT `+waiting+`)`).Scan(&waits); err != nil {
					t.Fatal(err)
				}
				return waits
			})
			// Others write, and the clock passes the margin.
			for time.Since(at) < 3*margin/2 {
				if _, err := quick.Exec(t.Context(), `SET synchronous_commit = off; INSERT INTO rows (at) SELECT clock_timestamp()`); err != nil {
					t.Fatal(err)
				}
				l.follow(t)
				if until := l.Until(); until != nil && until.After(at) {
					t.Fatalf("complete until %v, but the row of %v is not seen", until, at)
				}
				if l.seen[n] {
					t.Fatal("this test proves nothing: the row is seen")
				}
			}
			if _, err := l.admin.Exec(t.Context(), `SELECT `+c.end+`(pid) `+waiting); err != nil {
				t.Fatal(err)
			}
			<-ended
			for !l.from.After(at) {
				l.follow(t)
			}
			if !l.seen[n] {
				t.Error("the reader has passed the row by")
			}
		})
	}
}

// Many write, some slowly, and some never commit. A reader who follows sees each row that was committed.
func TestAReaderWhoFollowsSkipsNoRow(t *testing.T) {
	l := newList(t)
	const writers, each = 8, 40
	var writing sync.WaitGroup
	done := make(chan struct{})
	for range writers {
		conn := pgtest.Connect(t, l.db.URL("writer"))
		writing.Go(func() {
			for range each {
				tx, err := conn.Begin(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				rng := rand.N[int]
				// The id comes first, then the time, then some more work.
				_, err = tx.Exec(t.Context(), fmt.Sprintf(`SELECT pg_current_xact_id(); SELECT pg_sleep(%f); INSERT INTO rows (at) SELECT clock_timestamp(); SELECT pg_sleep(%f)`,
					float64(rng(50))/1000, float64(rng(50)+rng(2)*200)/1000))
				if err != nil {
					t.Error(err)
					return
				}
				end := tx.Commit
				if rng(5) == 0 {
					end = tx.Rollback
				}
				if err := end(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	go func() { writing.Wait(); close(done) }()
	l.Worker.clock = func(ctx context.Context) (time.Time, error) { // without the margin, which would hide mistakes
		at, err := l.databaseClock(ctx)
		return at.Add(margin), err
	}
	passes := 0
	for writingStill := true; writingStill; passes++ {
		select {
		case <-done:
			writingStill = false
		default:
		}
		l.follow(t)
	}
	l.follow(t)
	all, err := pg.Rows(t.Context(), l.reads, "read", pgx.RowTo[int64], `SELECT n FROM rows`)
	if err != nil {
		t.Fatal(err)
	}
	skipped := 0
	for _, n := range all {
		if !l.seen[n] {
			skipped++
		}
	}
	if skipped > 0 || len(l.seen) != len(all) || len(all) < writers*each/2 || passes < 20 {
		t.Errorf("in %d passes the reader saw %d of %d rows", passes, len(l.seen), len(all))
	}
}

// The worker's own transactions wait for no standby, even where COMMIT does.
func TestTheWorkerDoesNotWaitForAStandby(t *testing.T) {
	l := newList(t)
	if _, err := l.admin.Exec(t.Context(), "ALTER DATABASE "+l.db.Name+" SET synchronous_commit = on"); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for range 3 {
		l.follow(t)
	}
	if l.Until() == nil || time.Since(begin) > limit {
		t.Errorf("complete until %v after %v", l.Until(), time.Since(begin))
	}
}

func TestTheClockStepsBack(t *testing.T) {
	l := newList(t)
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	l.Worker.clock = func(context.Context) (time.Time, error) { return now, nil }
	expect := func(what string, want time.Time, behind float64) {
		t.Helper()
		if err := l.once(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := l.Until(); got == nil || !got.Equal(want) {
			t.Errorf("%s: complete until %v, want %v", what, got, want)
		}
		text := fmt.Sprintf("# HELP lists_clock_behind_seconds Seconds by which the database's clock is behind its own latest time.\n# TYPE lists_clock_behind_seconds gauge\nlists_clock_behind_seconds %g\n", behind)
		if err := testutil.CollectAndCompare(l, strings.NewReader(text), "lists_clock_behind_seconds"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if l.Until() != nil {
		t.Error("known before the first reading")
	}
	noon := now
	expect("noon", noon.Add(-time.Second), 0)
	now = noon.Add(10 * time.Second)
	expect("10 s later", noon.Add(9*time.Second), 0)
	now = noon
	expect("10 s back", noon.Add(9*time.Second), 10)
	now = noon.Add(5 * time.Second)
	expect("not yet caught up", noon.Add(9*time.Second), 5)
	now = noon.Add(11 * time.Second)
	expect("caught up", noon.Add(10*time.Second), 0)

	// A time that was not published when the clock stepped back never is: rows with earlier times will come.
	open := pgtest.Connect(t, l.db.URL("writer"))
	tx, err := open.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT pg_current_xact_id()`); err != nil {
		t.Fatal(err)
	}
	now = noon.Add(60 * time.Second)
	expect("held back", noon.Add(10*time.Second), 0)
	now = noon.Add(20 * time.Second)
	expect("held back, and the clock back by 40 s", noon.Add(10*time.Second), 40)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	now = noon.Add(21 * time.Second)
	expect("set free", noon.Add(20*time.Second), 39)
}

// A transaction that stays open for hours must not cost memory, and leaves marks to go on from.
func TestFewMarksAreKept(t *testing.T) {
	w := New(nil, slog.New(slog.DiscardHandler))
	begin := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for i := range 10_000 {
		w.remember(mark{begin.Add(time.Duration(i) * time.Second), uint64(i + 1)})
	}
	if len(w.pending) > 10*dense {
		t.Errorf("%d marks are kept", len(w.pending))
	}
	w.advance(5_000)
	if until := w.Until(); until == nil || until.After(begin.Add(5_000*time.Second)) || until.Before(begin.Add(4_950*time.Second)) {
		t.Errorf("complete until %v", until)
	}
	// Another server, whose ids are lower, takes over.
	w.remember(mark{begin.Add(200_000 * time.Second), 10})
	w.advance(10)
	if until := w.Until(); until == nil || !until.Equal(begin.Add(200_000*time.Second-margin)) {
		t.Errorf("after the other server has taken over: %v", until)
	}
}
