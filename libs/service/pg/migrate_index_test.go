package pg_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3/lock"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
)

var builds = fstest.MapFS{"migrations/00001_index.sql": &fstest.MapFile{Data: []byte("-- +goose NO TRANSACTION\n-- +goose Up\n" +
	"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS things_by_name ON shelf.things (name);\n")}}

// holder is a session with a transaction that has an open snapshot: no index can be completed before it ends.
func holder(t *testing.T, db pgtest.Database) *pgx.Conn {
	t.Helper()
	conn := pgtest.Connect(t, db.AdminURL())
	if _, err := conn.Exec(t.Context(), `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM shelf.things`); err != nil {
		t.Fatal(err)
	}
	return conn
}

// indexes lists the indexes of shelf.things beside its primary key, and which of them are valid.
func indexes(t *testing.T, db pgtest.Database) (all string) {
	t.Helper()
	pool := open(t, db)
	defer pool.Close()
	err := pool.QueryRow(t.Context(), `SELECT coalesce(string_agg(indexrelid::regclass::text || ' ' || indisvalid, ', ' ORDER BY 1), '')
		FROM pg_index WHERE indrelid = 'shelf.things'::regclass AND NOT indisprimary`).Scan(&all)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(all, "shelf.", "")
}

// building waits until a session other than except waits for old snapshots to complete an index, and returns its process id.
func building(t *testing.T, db pgtest.Database, except int32) (pid int32) {
	t.Helper()
	pool := open(t, db)
	defer pool.Close()
	waittest.Eventually(t, "the index is being built", func() bool {
		err := pool.QueryRow(t.Context(), `SELECT coalesce(max(pid), 0) FROM pg_stat_progress_create_index
			WHERE phase LIKE 'waiting for old snapshots' AND datname = current_database() AND pid <> $1`, except).Scan(&pid)
		if err != nil {
			t.Error(err)
		}
		return pid != 0
	})
	return pid
}

// The end of ctx, which is how a migration is stopped, ends the build; another Migrate waits for its turn and says for
// whom, and then completes the index.
func TestMigrateIsStoppedAndRunAgain(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	snapshot := holder(t, db)
	ctx, stop := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { first <- pg.Migrate(ctx, db.AdminURL(), "shelf", builds, quiet) }()
	stopped := building(t, db, 0)

	var text waittest.Text
	second := make(chan error, 1)
	go func() {
		second <- pg.Migrate(t.Context(), db.AdminURL(), "shelf", builds, slog.New(slog.NewTextHandler(&text, nil)))
	}()
	waittest.Eventually(t, "the second says whom it waits for", func() bool {
		return strings.Contains(text.String(), "another migration is running") && strings.Contains(text.String(), "(shelf migrate)")
	})
	stop()
	if err := <-first; err == nil {
		t.Error("a migration that was stopped reports no error")
	}
	building(t, db, stopped) // the second does it again, since the server has ended the first's statement
	if got := indexes(t, db); !strings.Contains(got, "things_by_name false") {
		t.Errorf("indexes while the second builds: %s", got)
	}
	if _, err := snapshot.Exec(t.Context(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
	if got := indexes(t, db); got != "things_by_name true" {
		t.Errorf("indexes: %s", got)
	}
}

// A long build in one schema does not hold up another schema.
func TestMigrateOfAnotherSchema(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	snapshot := holder(t, db)
	done := make(chan error, 1)
	go func() { done <- pg.Migrate(t.Context(), db.AdminURL(), "shelf", builds, quiet) }()
	building(t, db, 0)
	if _, err := pgtest.Connect(t, db.AdminURL()).Exec(t.Context(), `CREATE SCHEMA cellar`); err != nil {
		t.Fatal(err)
	}
	limited, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := pg.Migrate(limited, db.AdminURL(), "cellar", migrations(`CREATE TABLE cellar.things (id int)`), quiet); err != nil {
		t.Error(err)
	}
	if _, err := snapshot.Exec(t.Context(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Releases up to v0.6.0 take goose's lock alone.
func TestMigrateWaitsForAnOlderRelease(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	older := pgtest.Connect(t, db.AdminURL())
	if _, err := older.Exec(t.Context(), `SELECT pg_advisory_lock($1)`, lock.DefaultLockID); err != nil {
		t.Fatal(err)
	}
	var text waittest.Text
	done := make(chan error, 1)
	go func() {
		done <- pg.Migrate(t.Context(), db.AdminURL(), "shelf", builds, slog.New(slog.NewTextHandler(&text, nil)))
	}()
	waittest.Eventually(t, "it waits, or has ended", func() bool { return strings.Contains(text.String(), "another migration is running") || len(done) > 0 })
	if got := indexes(t, db); got != "" {
		t.Errorf("indexes while an older release migrates: %s", got)
	}
	if _, err := older.Exec(t.Context(), `SELECT pg_advisory_unlock_all()`); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := indexes(t, db); got != "things_by_name true" {
		t.Errorf("indexes: %s", got)
	}
}

// What an operator's REINDEX CONCURRENTLY leaves when it is interrupted is dropped; while it runs, it is left alone. An
// index that is invalid although its migration is recorded is rebuilt.
func TestMigrateMendsInvalidIndexes(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if err := pg.Migrate(t.Context(), db.AdminURL(), "shelf", builds, quiet); err != nil {
		t.Fatal(err)
	}
	snapshot := holder(t, db)
	operator, err := pgx.Connect(t.Context(), db.AdminURL())
	if err != nil {
		t.Fatal(err)
	}
	defer operator.Close(context.WithoutCancel(t.Context()))
	reindexed := make(chan error, 1)
	go func() {
		_, err := operator.Exec(t.Context(), `REINDEX INDEX CONCURRENTLY shelf.things_by_name`)
		reindexed <- err
	}()
	building(t, db, 0)
	if err := pg.Migrate(t.Context(), db.AdminURL(), "shelf", builds, quiet); err != nil {
		t.Fatal(err)
	}
	if got := indexes(t, db); got != "things_by_name true, things_by_name_ccnew false" {
		t.Errorf("indexes while the operator rebuilds one: %s", got)
	}
	if _, err := snapshot.Exec(t.Context(), `SELECT pg_terminate_backend($1)`, operator.PgConn().PID()); err != nil {
		t.Fatal(err)
	}
	if err := <-reindexed; err == nil {
		t.Error("the operator's session was not killed")
	}
	if _, err := snapshot.Exec(t.Context(), `COMMIT; UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'shelf.things_by_name'::regclass`); err != nil {
		t.Fatal(err)
	}
	if err := pg.Migrate(t.Context(), db.AdminURL(), "shelf", builds, quiet); err != nil {
		t.Fatal(err)
	}
	if got := indexes(t, db); got != "things_by_name true" {
		t.Errorf("indexes: %s", got)
	}
}

// The limits of a role or of the server must not end a build.
func TestMigrateHasNoTimeLimit(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pool := open(t, db)
	if _, err := pool.Exec(t.Context(), `ALTER DATABASE `+db.Name+` SET statement_timeout = '10ms'`); err != nil {
		t.Fatal(err)
	}
	if err := pg.Migrate(t.Context(), db.AdminURL(), "shelf", migrations(`SELECT pg_sleep(0.1)`), quiet); err != nil {
		t.Error(err)
	}
}

// Autovacuum would give way only after a second (deadlock_timeout). Here it would need minutes. It visits one database
// after another, so this test runs before the parallel ones, while there are few.
func TestMigrateInterruptsAutovacuum(t *testing.T) {
	db := pgtest.New(t)
	pool := open(t, db)
	if _, err := pool.Exec(t.Context(), `
		ALTER TABLE shelf.things ALTER name SET STORAGE PLAIN;
		ALTER TABLE shelf.things SET (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1);
		INSERT INTO shelf.things SELECT n, repeat('x', 4000) FROM generate_series(1, 2000) n;
		DELETE FROM shelf.things WHERE id % 2 = 0`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	waittest.Within(t, 5*time.Minute, "autovacuum works on the table", func() (works bool) {
		if err := pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_progress_vacuum WHERE relid = 'shelf.things'::regclass AND datname = current_database())`).Scan(&works); err != nil {
			t.Error(err)
		}
		return works
	})
	done := make(chan error, 1)
	go func() {
		done <- pg.Migrate(t.Context(), db.AdminURL(), "shelf", migrations(`ALTER TABLE shelf.things ADD COLUMN price int`), quiet)
	}()
	waittest.Eventually(t, "the table is migrated", func() bool { return len(done) > 0 })
	if err := <-done; err != nil {
		t.Error(err)
	}
}
