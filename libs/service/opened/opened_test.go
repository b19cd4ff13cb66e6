package opened_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/opened"
	"lavka/libs/service/pg"
	"lavka/libs/service/pgconfig"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
)

var schema = opened.Schema{Name: "billing", InUse: `EXISTS (SELECT FROM billing.things)`, Migrations: fstest.MapFS{"migrations/00001_opened.sql": {Data: []byte(`-- +goose Up
CREATE TABLE billing.things (id int);
CREATE TABLE billing.opened (one boolean PRIMARY KEY DEFAULT true CHECK (one), level bigint NOT NULL);
INSERT INTO billing.opened (level) VALUES (0);
GRANT SELECT ON billing.opened TO billing;
CREATE INDEX "Old things" ON billing.things (id);
CREATE INDEX new_things ON billing.things (id);
`)}}, Obsolete: []string{"Old things", "dropped before"}}

func indexes(t *testing.T, q pg.Querier) (names string) {
	t.Helper()
	if err := q.QueryRow(t.Context(), `SELECT string_agg(indexname, ', ' ORDER BY indexname COLLATE "C") FROM pg_indexes WHERE tablename = 'things'`).Scan(&names); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{Setup: pgtest.Service(schema.Name, schema.Migrations)})
}

var silent = slog.New(slog.DiscardHandler)

func level(t *testing.T, q pg.Querier) (n int64) {
	t.Helper()
	if err := q.QueryRow(t.Context(), `SELECT level FROM billing.opened`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// session opens a session of the role billing with a name.
func session(t *testing.T, db pgtest.Database, name string) *pgx.Conn {
	t.Helper()
	cfg, err := pgconfig.Parse(db.URL("billing"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["application_name"] = name
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// Finish must not open the gate beside a replica of another release: what this one then
// writes, that one does not understand.
func TestFinishRefusesBesideAnotherRelease(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		session string
		refused bool
	}{
		"the release before, which names none": {"billing ledger", true},
		"another release":                      {"billing ledger @v0.1.0", true},
		"one whose name ends alike":            {"billing x" + strings.TrimPrefix(pg.ReleaseMark(), " "), true},
		"this release":                         {"billing ledger" + pg.ReleaseMark(), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			admin := pgtest.Connect(t, db.AdminURL()) // a superuser does not count
			session(t, db, c.session)
			err := opened.Finish(t.Context(), db.URL("billing_owner"), schema, silent)
			if (err != nil) != c.refused || c.refused && !strings.Contains(err.Error(), "("+c.session+")") {
				t.Errorf("finish: %v", err)
			}
			if n := level(t, admin); (n == 0) != c.refused {
				t.Errorf("the level is %d", n)
			}
			want := "new_things"
			if c.refused {
				want = "Old things, new_things"
			}
			if got := indexes(t, admin); got != want {
				t.Errorf("the indexes are %s, want %s", got, want)
			}
		})
	}
}

func TestFinishWaitsForASessionThatEnds(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin := pgtest.Connect(t, db.AdminURL())
	old := session(t, db, "billing ledger")
	done := make(chan error, 1)
	go func() { done <- opened.Finish(t.Context(), db.URL("billing_owner"), schema, silent) }()
	waittest.Eventually(t, "finish looks for other sessions", func() bool {
		var there bool
		err := admin.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'billing migrate finish' AND datname = current_database())`).Scan(&there)
		return err == nil && there
	})
	if err := old.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := level(t, admin); n != opened.Highest {
		t.Errorf("the level is %d", n)
	}
}

// A level is never lowered, not even by an older release's finish.
func TestFinishNeverLowers(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin := pgtest.Connect(t, db.AdminURL())
	if _, err := admin.Exec(t.Context(), `UPDATE billing.opened SET level = 99`); err != nil {
		t.Fatal(err)
	}
	if err := opened.Finish(t.Context(), db.URL("billing_owner"), schema, silent); err != nil {
		t.Fatal(err)
	}
	if n := level(t, admin); n != 99 {
		t.Errorf("the level is %d", n)
	}
}

// Only an empty shop without another release is opened by migrate itself.
func TestMigrateOpensAnEmptyShop(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		data, other, open bool
	}{
		"empty":                             {false, false, true},
		"with data":                         {true, false, false},
		"empty, but a release before is up": {false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			admin := pgtest.Connect(t, db.AdminURL())
			if c.data {
				if _, err := admin.Exec(t.Context(), `INSERT INTO billing.things VALUES (1)`); err != nil {
					t.Fatal(err)
				}
			}
			if c.other {
				session(t, db, "billing ledger")
			}
			var log strings.Builder
			if err := opened.Migrate(t.Context(), db.URL("billing_owner"), schema, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
				t.Fatal(err)
			}
			if n := level(t, admin); (n == opened.Highest) != c.open || strings.Contains(log.String(), "make finish") == c.open {
				t.Errorf("the level is %d; the log is %s", n, &log)
			}
			if got := indexes(t, admin); strings.Contains(got, "Old things") == c.open {
				t.Errorf("the indexes are %s", got)
			}
		})
	}
}

// An index that can't be dropped, because a session uses it, is dropped by the next call.
func TestFinishCanBeRepeated(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin, user := pgtest.Connect(t, db.AdminURL()), pgtest.Connect(t, db.AdminURL())
	if _, err := user.Exec(t.Context(), `BEGIN; SELECT FROM billing.things`); err != nil {
		t.Fatal(err)
	}
	err := opened.Finish(t.Context(), db.URL("billing_owner"), schema, silent)
	if err == nil || !strings.Contains(err.Error(), "Old things") || !strings.Contains(err.Error(), "run migrate finish again") {
		t.Errorf("finish beside a session that uses the index: %v", err)
	}
	if n := level(t, admin); n != opened.Highest {
		t.Errorf("the level is %d", n)
	}
	if _, err := user.Exec(t.Context(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	if err := opened.Finish(t.Context(), db.URL("billing_owner"), schema, silent); err != nil {
		t.Fatal(err)
	}
	if got := indexes(t, admin); got != "new_things" {
		t.Errorf("the indexes are %s", got)
	}
}

func TestReplicasSeeTheLevel(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pool, err := pg.Open(t.Context(), db.URL("billing"), "billing", 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	gate := opened.NewGate(pool, "billing", silent)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); gate.Run(ctx) }()
	defer func() { stop(); <-ended }()
	if err := gate.At(1); !errors.Is(err, opened.ErrNotYet) {
		t.Errorf("closed: %v", err)
	}
	if err := opened.Finish(t.Context(), db.URL("billing_owner"), schema, silent); err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "the replica sees that level 1 is open", func() bool { return gate.At(1) == nil })
	if err := gate.At(opened.Highest + 1); !errors.Is(err, opened.ErrNotYet) {
		t.Errorf("a higher level: %v", err)
	}
	if _, err := pool.Exec(t.Context(), `UPDATE billing.opened SET level = 7`); pg.Code(err) != "42501" {
		t.Errorf("the service may raise the level itself: %v", err)
	}
}

// A long release is cut in a session's name, which Postgres would otherwise do.
func TestTheMarkFitsIntoANameOfPostgres(t *testing.T) {
	t.Parallel()
	if n := len("billing messages rejected" + pg.ReleaseMark()); n > 63 {
		t.Errorf("%d bytes", n)
	}
}
