package pg_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{Settings: map[string]string{"autovacuum_naptime": "1s"}, Setup: func(ctx context.Context, adminURL string) error {
		conn, err := pgx.Connect(ctx, adminURL)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, `CREATE SCHEMA shelf; CREATE TABLE shelf.things (id int PRIMARY KEY, name text CONSTRAINT named CHECK (name <> ''))`)
		return errors.Join(err, conn.Close(ctx))
	}})
}

func open(t *testing.T, db pgtest.Database) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(t.Context(), db.AdminURL(), "test", 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func count(t *testing.T, pool *pgxpool.Pool) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM shelf.things`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSessionsHaveLimits(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.New(t))
	for name, want := range map[string]string{
		"idle_in_transaction_session_timeout": "2s", "lock_timeout": "250ms", "statement_timeout": "5s",
		"client_connection_check_interval": "1s", "TimeZone": "UTC", "application_name": "test" + pg.ReleaseMark(),
	} {
		var got string
		if err := pool.QueryRow(t.Context(), `SELECT current_setting($1)`, name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, want %q: %v", name, got, want, err)
		}
	}
}

// A debugger stops a replica for minutes: the URL can lift the limits, and nothing
// else.
func TestTheURLLiftsTheSessionLimits(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(pgtest.New(t).AdminURL())
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for name, value := range map[string]string{"statement_timeout": "0", "idle_in_transaction_session_timeout": "0", "lock_timeout": "0", "timezone": "Asia/Tokyo"} {
		q.Set(name, value)
	}
	u.RawQuery = q.Encode()
	pool, err := pg.Open(t.Context(), u.String(), "test", 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	for name, want := range map[string]string{"idle_in_transaction_session_timeout": "0", "lock_timeout": "0", "statement_timeout": "0", "TimeZone": "UTC"} {
		var got string
		if err := pool.QueryRow(t.Context(), `SELECT current_setting($1)`, name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, want %q: %v", name, got, want, err)
		}
	}
}

func TestInTx(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.New(t))
	add := func(tx *pg.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO shelf.things VALUES (1, 'tea')`)
		return err
	}
	no := errors.New("no")
	err := pg.InTx(t.Context(), pool, func(tx *pg.Tx) error { return errors.Join(add(tx), no) })
	if !errors.Is(err, no) || pg.CommitUnknown(err) || count(t, pool) != 0 {
		t.Errorf("%v; %d rows", err, count(t, pool))
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		err := pg.InTx(t.Context(), pool, func(tx *pg.Tx) error {
			if err := add(tx); err != nil {
				t.Error(err)
			}
			panic("no")
		})
		t.Errorf("returned: %v", err)
	}()
	if count(t, pool) != 0 {
		t.Error("a panic has committed")
	}
	if err := pg.InTx(t.Context(), pool, add); err != nil || count(t, pool) != 1 {
		t.Errorf("%v", err)
	}
	err = pg.InTx(t.Context(), pool, add)
	if _, ok := pg.UniqueViolation(err); !ok || !pg.BadData(err) || !pg.Again(err) || pg.CommitUnknown(err) {
		t.Errorf("the same again: %v", err)
	}
}

// A transaction that needs a locked row waits for it, for a while.
func TestInTxWaitsForALock(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pool, other := open(t, db), open(t, db)
	if _, err := pool.Exec(t.Context(), `INSERT INTO shelf.things VALUES (1, 'tea')`); err != nil {
		t.Fatal(err)
	}
	holder, err := other.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Rollback(context.WithoutCancel(t.Context()))
	keep := func() { // the server ends a transaction that is idle for two seconds
		if _, err := holder.Exec(t.Context(), `UPDATE shelf.things SET name = 'coffee' WHERE id = 1`); err != nil {
			t.Error(err)
		}
	}
	keep()
	runs := 0
	change := func(each func()) error {
		runs = 0
		return pg.InTx(t.Context(), pool, func(tx *pg.Tx) error {
			runs++
			each()
			_, err := tx.Exec(t.Context(), `UPDATE shelf.things SET name = 'water' WHERE id = 1`)
			return err
		})
	}
	if err := change(keep); !pg.LockTimeout(err) || runs < 2 {
		t.Errorf("while it is locked: %v after %d runs", err, runs)
	}
	err = change(func() {
		if runs == 3 {
			if err := holder.Rollback(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil || runs != 3 {
		t.Errorf("unlocked in the third run: %v after %d runs", err, runs)
	}
}

func TestKindsOfErrors(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.New(t))
	_, err := pool.Exec(t.Context(), `INSERT INTO shelf.things VALUES (1, '')`)
	if !pg.BadData(err) || pg.Again(err) || pg.LockTimeout(err) || pg.Code(err) != "23514" {
		t.Errorf("a check: %v", err)
	}
	_, err = pool.Exec(t.Context(), `SELECT 1/0`)
	if !pg.BadData(err) {
		t.Errorf("class 22: %v", err)
	}
	if _, err = pool.Exec(t.Context(), `INSERT INTO shelf.things VALUES (1, 'tea')`); err != nil {
		t.Fatal(err)
	}
	if _, err = pool.Exec(t.Context(), `INSERT INTO shelf.things VALUES (1, 'tea')`); err == nil {
		t.Error("two of one id")
	}
	if constraint, ok := pg.UniqueViolation(err); !ok || constraint != "things_pkey" {
		t.Errorf("%q %v", constraint, err)
	}
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), `SELECT FROM shelf.things FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	_, err = pool.Exec(t.Context(), `UPDATE shelf.things SET name = 'milk'`)
	if !pg.LockTimeout(err) || pg.BadData(err) {
		t.Errorf("a held row: %v", err)
	}
	if other := errors.New("x"); pg.Code(other) != "" || pg.BadData(other) || pg.Again(other) || pg.LockTimeout(other) || pg.CommitUnknown(other) || pg.Code(nil) != "" {
		t.Error("an error that is not Postgres's has a kind")
	}
}

// A server that refuses the connection, for any reason, is a transient error: a password may have just been changed.
func TestARefusedConnectionIsTransient(t *testing.T) {
	t.Parallel()
	for reason, change := range map[string]func(*url.URL){
		"28P01": func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "wrong") },
		"3D000": func(u *url.URL) { u.Path = "nowhere" },
	} {
		u, err := url.Parse(pgtest.New(t).AdminURL())
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		pool, err := pg.Open(t.Context(), u.String(), "test", 1)
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		_, err = pool.Exec(t.Context(), `SELECT 1`)
		if pg.Code(err) != reason || !errors.Is(pg.Wrap("look", err), pg.ErrUnavailable) {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

// A COMMIT that was cut off may or may not have been done; one that the server
// refused has not.
func TestCommitUnknown(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pool, admin := open(t, db), open(t, db)
	err := pg.InTx(t.Context(), pool, func(tx *pg.Tx) error {
		var pid int
		if err := tx.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			return err
		}
		_, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend($1, 5000)`, pid)
		return err
	})
	if !pg.CommitUnknown(err) || !pg.Again(err) {
		t.Errorf("the session ended before COMMIT was answered: %v", err)
	}
	if _, err := pool.Exec(t.Context(), `ALTER TABLE shelf.things ADD UNIQUE (name) DEFERRABLE INITIALLY DEFERRED; INSERT INTO shelf.things VALUES (1, 'tea')`); err != nil {
		t.Fatal(err)
	}
	err = pg.InTx(t.Context(), pool, func(tx *pg.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO shelf.things VALUES (2, 'tea')`)
		return err
	})
	if _, ok := pg.UniqueViolation(err); !ok || pg.CommitUnknown(err) || count(t, pool) != 1 {
		t.Errorf("refused at COMMIT: %v", err)
	}
}

// What can't be read as a URL is refused without a word of it: any part of it may
// be the password's. So is what can be read only by taking a password for a name.
func TestABrokenURLIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://shelf:canary@127.0.0.1:x/lavka", "postgres://shelf:can/ary@127.0.0.1:5432/lavka",
		"postgres://shelf:can ary@127.0.0.1:5432/lavka", "postgres://shelf:can%zzary@127.0.0.1:5432/lavka", "postgres://shelf:123/canary@127.0.0.1:5432/lavka",
		"postgres://shelf:x@127.0.0.1:5432/lavka,postgres://shelf:canary@127.0.0.1:5432/lavka", "xpostgres://shelf:canary@127.0.0.1/lavka",
		"host=127.0.0.1 password='canary port=x", "host=127.0.0.1 port=canary", "postgres://shelf:canary@%zz/lavka", "postgres://shelf:canary@127.0.0.1/lavka?sslmode=canary", "canary",
	} {
		if pool, err := pg.Open(t.Context(), url, "test", 1); err == nil || !strings.Contains(err.Error(), "DATABASE_URL") || strings.Contains(err.Error(), "ary") {
			t.Errorf("%s: %v", url, err)
			pool.Close()
		}
		err := pg.Migrate(t.Context(), url, "shelf", fstest.MapFS{}, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), "MIGRATE_DATABASE_URL") || strings.Contains(err.Error(), "ary") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// What reads whole tables must not depend on statistics, which a table that has just been
// filled does not have yet.
func TestSnapshotJoinsWithoutNestedLoops(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pool, err := pg.Open(t.Context(), db.AdminURL(), "snapshot", 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	var plan string
	err = pg.Snapshot(t.Context(), pool, func(tx pgx.Tx, _ time.Time) error {
		rows, err := tx.Query(t.Context(), `EXPLAIN SELECT FROM generate_series(1, 1) a JOIN generate_series(1, 1) b ON a = b`)
		if err != nil {
			return err
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		plan = strings.Join(lines, "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plan, "Nested Loop") || !strings.Contains(plan, "Join") {
		t.Errorf("the plan of a join is\n%s", plan)
	}
}
