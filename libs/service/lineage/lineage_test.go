package lineage

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"lavka/libs/host/pgserver"
	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
)

var migrations = fstest.MapFS{"migrations/00001_users.sql": {Data: []byte(`-- +goose Up
CREATE TABLE auth.users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, version bigint NOT NULL DEFAULT 1);
CREATE SEQUENCE auth.unused START 1000000000000;
CREATE TABLE auth.lineage (one boolean PRIMARY KEY DEFAULT true CHECK (one), system_identifier bigint NOT NULL, timeline bigint NOT NULL, relation oid NOT NULL, beat bigint NOT NULL DEFAULT 0);
INSERT INTO auth.lineage (system_identifier, timeline, relation)
SELECT (SELECT system_identifier FROM pg_control_system()), ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint, 'auth.lineage'::regclass;
GRANT SELECT, UPDATE ON auth.lineage TO auth;
GRANT SELECT, INSERT ON auth.users TO auth;
`)}}

var ofAuth = Restored{Schema: "auth", Migrations: migrations, Change: func(ctx context.Context, q pg.Querier, jump Jump) error {
	_, err := q.Exec(ctx, `UPDATE auth.users SET version = version + $1`, jump.Versions)
	return err
}}

var silent = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{Setup: pgtest.Service("auth", migrations)})
}

const insert = `INSERT INTO auth.users DEFAULT VALUES RETURNING id`

func number(t *testing.T, q pg.Querier, sql string) (n int64) {
	t.Helper()
	if err := q.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func check(t *testing.T, q pg.Querier) string {
	t.Helper()
	found, err := Check(t.Context(), q, "auth")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A replica that has just been stopped, and the migration that after-restore runs itself,
// are connected for a moment longer.
func TestAfterRestoreWaitsForSessionsThatEnd(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin := pgtest.Connect(t, db.AdminURL())
	service := pgtest.Connect(t, db.URL("auth"))
	done := make(chan error, 1)
	go func() { done <- AfterRestore(t.Context(), db.URL("auth_owner"), ofAuth, silent) }()
	waittest.Eventually(t, "after-restore looks for other sessions", func() bool {
		return number(t, admin, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'auth after-restore'`) > 0
	})
	if err := service.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The same backup may be restored twice. What the first restored shop gave out must
// not be given out by the second.
func TestEachRestoreGoesOnAtIDsOfItsOwn(t *testing.T) {
	t.Parallel()
	backup := pgtest.New(t)
	admin := pgtest.Connect(t, backup.AdminURL())
	number(t, admin, insert)
	dump := filepath.Join(t.TempDir(), "dump")
	run(t, "pg_dump", "--format=custom", "--schema=auth", "--file="+dump, backup.AdminURL())
	last := int64(1)
	for range 2 {
		db := pgtest.New(t)
		copied := pgtest.Connect(t, db.AdminURL())
		if _, err := copied.Exec(t.Context(), `DROP SCHEMA auth CASCADE`); err != nil {
			t.Fatal(err)
		}
		run(t, "pg_restore", "--exit-on-error", "--dbname="+db.AdminURL(), dump)
		if found := check(t, copied); !strings.Contains(found, "the schema auth is a restored copy, and auth after-restore has not been run") {
			t.Errorf("before after-restore: %q", found)
		}
		if err := AfterRestore(t.Context(), db.URL("auth_owner"), ofAuth, silent); err != nil {
			t.Fatal(err)
		}
		if found := check(t, copied); found != "" {
			t.Errorf("after after-restore: %s", found)
		}
		id, version := number(t, copied, insert), number(t, copied, `SELECT version FROM auth.users WHERE id = 1`)
		if id < last+100_000 || id < 1_000_000_000 || id >= 1<<53 || version <= 1_000_000 {
			t.Errorf("after the id %d comes %d; the version is %d", last, id, version)
		}
		if n := number(t, copied, `SELECT nextval('auth.unused')`); n < 1_001_000_000_000 {
			t.Errorf("a sequence that was never used goes on at %d", n)
		}
		if n := number(t, copied, `SELECT max(id) FROM auth.schema_version`); n > 100 {
			t.Errorf("the ids of migrations went on at %d", n)
		}
		last = id
		sleepOneSecondOfTheDatabase(t, copied)
	}
}

// sleepOneSecondOfTheDatabase makes time pass, of which the jump depends in whole seconds.
func sleepOneSecondOfTheDatabase(t *testing.T, q pg.Querier) {
	t.Helper()
	if _, err := q.Exec(t.Context(), `SELECT pg_sleep(1)`); err != nil {
		t.Fatal(err)
	}
}

func TestAfterRestoreRefusesWhileTheServiceIsConnected(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin := pgtest.Connect(t, db.AdminURL()) // does not count
	service := pgtest.Connect(t, db.URL("auth"))
	err := AfterRestore(t.Context(), db.URL("auth_owner"), ofAuth, silent)
	if want := fmt.Sprintf("pid %d (", service.PgConn().PID()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "stop its replicas") {
		t.Errorf("%v, want %q in it", err, want)
	}
	if id := number(t, admin, insert); id != 1 {
		t.Errorf("it refused, and ids go on at %d", id)
	}
}

func TestAfterRestoreStaysBelowTheIDsThatClientsCanHold(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin := pgtest.Connect(t, db.AdminURL())
	number(t, admin, `SELECT setval('auth.unused', 9007199254740000)`)
	err := AfterRestore(t.Context(), db.URL("auth_owner"), ofAuth, silent)
	if err == nil || !strings.Contains(err.Error(), "the sequence auth.unused would pass 9007199254740991") {
		t.Error(err)
	}
}

// A synchronous standby takes over. It has every id that was acknowledged, and its
// sequences are not behind: they are logged 32 values ahead. A replica that served
// before and after accepts the new timeline; one that started since can't.
func TestASynchronousStandbyTakesOver(t *testing.T) {
	t.Parallel()
	durable := map[string]string{"synchronous_commit": "on"}
	primary := start(t, filepath.Join(t.TempDir(), "primary"), durable)
	if err := pgtest.Service("auth", migrations)(t.Context(), primary.URL("postgres")); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "standby")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	password, err := url.Parse(primary.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := password.User.Password()
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	password.Path, password.RawQuery = "", ""
	run(t, "pg_basebackup", "--checkpoint=fast", "--write-recovery-conf", "--pgdata="+filepath.Join(dir, "data"), "--dbname="+password.String())
	standby := start(t, dir, durable)
	admin := pgtest.Connect(t, primary.URL("postgres"))
	for _, sql := range []string{`ALTER SYSTEM SET synchronous_standby_names = '*'`, `SELECT pg_reload_conf()`} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for number(t, admin, `SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'`) == 0 {
		number(t, admin, `SELECT pg_backend_pid()`)
	}
	open := func(server *pgserver.Server) *Follower {
		pool, err := pg.Open(t.Context(), server.URL("postgres"), "auth", 2)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return NewFollower(pool, "auth", silent)
	}
	old := pgtest.Connect(t, primary.URL("postgres")) // knows of the standby
	witness := open(primary)
	if err := witness.runOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	var last int64
	for range 40 {
		last = number(t, old, insert)
	}
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}

	taken := pgtest.Connect(t, standby.URL("postgres"))
	if found := check(t, taken); found != "" {
		t.Errorf("a standby, from which nothing is served: %s", found)
	}
	if _, err := taken.Exec(t.Context(), `SELECT pg_promote()`); err != nil {
		t.Fatal(err)
	}
	if n := number(t, taken, `SELECT max(id) FROM auth.users`); n != last {
		t.Errorf("the last id is %d; %d was acknowledged", n, last)
	}
	if id := number(t, taken, insert); id <= last || id > last+33 {
		t.Errorf("after the id %d comes %d", last, id)
	}
	newcomer := open(standby)
	if err := newcomer.runOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found := check(t, taken); !strings.Contains(found, "was last served on timeline 1 and is on timeline 2 now") {
		t.Errorf("a replica that saw nothing accepts the timeline: %q", found)
	}
	lagged := *witness
	lagged.pool, lagged.seen.Beat = newcomer.pool, lagged.seen.Beat+1 // as if a beat was acknowledged that the standby lacks
	alone := *witness
	alone.pool, alone.seen.Synchronous = newcomer.pool, false
	for name, f := range map[string]*Follower{"lacks a beat": &lagged, "was not synchronous": &alone} {
		if err := f.runOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if check(t, taken) == "" {
			t.Errorf("the standby %s, and its timeline is accepted", name)
		}
	}
	witness.pool = newcomer.pool // as the address of the primary leads to the standby now
	if err := witness.runOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found := check(t, taken); found != "" {
		t.Error(found)
	}
}

func start(t *testing.T, dir string, settings map[string]string) *pgserver.Server {
	t.Helper()
	s, err := pgserver.Start(t.Context(), pgserver.Config{Dir: dir, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func run(t *testing.T, program string, args ...string) {
	t.Helper()
	bin, err := pgserver.FindBinaries()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), filepath.Join(bin.Dir, program), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
}
