package migrationtest

import (
	"context"
	"io/fs"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
)

const (
	workers = 6
	// A wait that a migration gives up after 200 ms fails no transaction. On a busy machine it may end late, and then fail
	// one of each worker; a wait of two seconds fails eight of each.
	mostTimeouts = 3 * workers
	// enough transactions show that the shop goes on.
	enough = 50
	// The load is steady, not the most that the machine can do: what a migration locks shows in either, and other tests
	// run at the same time.
	betweenTransactions = 50 * time.Millisecond // of a worker
	betweenDuplicates   = 20 * time.Millisecond
)

// UnderLoad migrates an empty schema, one file after another, while the service's load runs and another transaction has an
// open snapshot and has read every table, like pg_dump. What waits for that is first killed and then started again. While
// it waits, the load goes on: its transactions do not fail for a lock, and no duplicate is ever accepted.
func (s Service) UnderLoad(t *testing.T) {
	t.Parallel()
	all, err := files(s.Migrations)
	if err != nil {
		t.Fatal(err)
	}
	db := newDatabase(t, s.Schema)
	for _, f := range all {
		t.Run(f.name, func(t *testing.T) { s.underLoad(t, db, f, all) })
	}
}

func (s Service) underLoad(t *testing.T, db database, f file, all []file) {
	load := s.watch(t, db)
	load.work(t, s.Load)
	snapshot := pgtest.Connect(t, db.AdminURL())
	run(t, snapshot, `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class`)
	for _, table := range tablesOf(t, db.admin, s.Schema) {
		run(t, snapshot, `SELECT FROM `+s.Schema+`.`+table.name+` LIMIT 0`)
	}
	migrated := s.start(t, db, upTo(all, f.version))
	if migrated.waits(t, db) && f.concurrent() {
		db.exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '`+s.Schema+` migrate' AND datname = current_database()`)
		if err := <-migrated; err == nil {
			t.Error("Migrate reports no error although its session was killed")
		}
		migrated = s.start(t, db, upTo(all, f.version))
		migrated.waits(t, db)
	}
	if now := load.done.Load(); load.working {
		waittest.Eventually(t, "the shop goes on", func() bool { return load.done.Load()-now > enough || load.timeouts.Load() > mostTimeouts })
	}
	run(t, snapshot, `COMMIT`)
	if err := <-migrated; err != nil {
		t.Error(err)
	}
	load.stop(t)
	if n := load.timeouts.Load(); n > mostTimeouts {
		t.Errorf("%d transactions of the shop failed because they waited for a lock; %d did not", n, load.done.Load())
	}
}

// migration is the result of a Migrate that runs.
type migration chan error

func (s Service) start(t *testing.T, db database, migrations fs.FS) migration {
	done := make(migration, 1)
	go func() { done <- db.migrate(t.Context(), migrations) }()
	return done
}

// waits waits until the migration waits for a lock, or has ended. It reports whether it waits.
func (m migration) waits(t *testing.T, db database) (waiting bool) {
	t.Helper()
	waittest.Eventually(t, "the migration waits or ends", func() bool {
		err := db.admin.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
			WHERE NOT l.granted AND a.application_name = $1 AND a.datname = current_database())`, db.schema+" migrate").Scan(&waiting)
		if err != nil {
			t.Error(err)
		}
		return waiting || len(m) > 0 || err != nil
	})
	return waiting
}

// traffic is what the service does meanwhile.
type traffic struct {
	pool     *pgxpool.Pool
	ctx      context.Context
	cancel   context.CancelFunc
	all      sync.WaitGroup
	working  bool
	done     atomic.Int64 // transactions
	timeouts atomic.Int64
}

var number atomic.Int64 // $1 of the last transaction

// watch inserts duplicates until it is stopped: of everything that is guarded now.
func (s Service) watch(t *testing.T, db database) *traffic {
	t.Helper()
	pool, err := pg.Open(t.Context(), db.URL(s.Schema), s.Schema, workers+2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	ctx, cancel := context.WithCancel(t.Context())
	l := &traffic{pool: pool, ctx: ctx, cancel: cancel}
	for _, sql := range s.Rows {
		if _, err := pool.Exec(ctx, sql); err != nil && pg.Code(err) != missingTable {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	guarded := s.guarded(t, db, pool)
	repeat := func(ctx context.Context) (refused bool) {
		for _, sql := range guarded {
			_, err := pool.Exec(ctx, sql)
			switch code := pg.Code(err); {
			case err == nil:
				t.Errorf("a duplicate was accepted: %s", sql)
				return false
			case code == lockTimeout:
				l.timeouts.Add(1)
			case code != duplicate && ctx.Err() == nil:
				t.Errorf("%s: %v", sql, err)
				return false
			}
		}
		return true
	}
	l.all.Go(func() {
		every(ctx, betweenDuplicates, func() bool { return repeat(ctx) })
		repeat(t.Context()) // after the last change of the schema
	})
	return l
}

// every does a step again and again, until it reports false or ctx ends.
func every(ctx context.Context, pause time.Duration, step func() bool) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for ctx.Err() == nil && step() {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// guarded returns the inserts that are refused as duplicates now. What the schema does not guard, or no longer, it
// deletes: the migrations must find no duplicates.
func (s Service) guarded(t *testing.T, db database, pool *pgxpool.Pool) (guarded []string) {
	t.Helper()
	insert := func(sql string) string {
		_, err := pool.Exec(t.Context(), sql)
		if code := pg.Code(err); err == nil || code == duplicate || code == missingTable {
			return code
		}
		t.Fatalf("%s: %v", sql, err)
		return ""
	}
	for _, sql := range s.Guarded {
		insert(sql)
		switch insert(sql) {
		case duplicate:
			guarded = append(guarded, sql)
		case "":
			db.exec(t, `DELETE FROM `+into.FindStringSubmatch(sql)[1])
		}
	}
	for _, sql := range guarded {
		insert(sql)
	}
	return guarded
}

var into = regexp.MustCompile(`INSERT INTO (\S+)`)

// work runs the transactions whose tables are there, until the traffic is stopped.
func (l *traffic) work(t *testing.T, transactions [][]string) {
	t.Helper()
	var possible [][]string
	for _, statements := range transactions {
		switch err := l.transact(t.Context(), statements); {
		case err == nil:
			possible = append(possible, statements)
		case pg.Code(err) != missingTable:
			t.Fatalf("%s: %v", statements, err)
		}
	}
	if len(possible) == 0 {
		return
	}
	l.working = true
	for i := range workers {
		l.all.Go(func() {
			n := i
			every(l.ctx, betweenTransactions, func() bool {
				statements := possible[n%len(possible)]
				n++
				err := l.transact(l.ctx, statements)
				switch code := pg.Code(err); {
				case err == nil:
					l.done.Add(1)
				case code == lockTimeout:
					l.timeouts.Add(1)
				case l.ctx.Err() == nil:
					t.Errorf("%s: %v", statements, err)
					return false
				}
				return true
			})
		})
	}
}

func (l *traffic) transact(ctx context.Context, statements []string) error {
	n := number.Add(1)
	return pg.InTx(ctx, l.pool, func(tx *pg.Tx) error {
		for _, sql := range statements {
			if _, err := tx.Exec(ctx, sql, n); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *traffic) stop(t *testing.T) {
	t.Helper()
	l.cancel()
	l.all.Wait()
	l.pool.Close()
}

// SQLSTATEs.
const (
	duplicate    = "23505"
	missingTable = "42P01"
	lockTimeout  = "55P03"
)
