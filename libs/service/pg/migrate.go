package pg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"lavka/libs/service/pgconfig"
)

// How a migration waits for the lock of a table. Everything that wants the table
// queues behind an exclusive lock that is not yet granted, so the wait has to end
// before the services' own lock_timeout (see sessionLimits), and tries must be rare.
const (
	tableWait    = 200 * time.Millisecond
	firstPause   = time.Second
	longestPause = 10 * time.Second
	patience     = 30 * time.Minute // for one migration
)

// migrateSettings are the settings of a migrating session. The lock_timeout of each
// migration is set when its turn comes (see prepare).
var migrateSettings = map[string]string{
	"lock_timeout": tableWait.String(),
	// Building an index may take hours, whatever the role's or the server's limits.
	"statement_timeout":    "0",
	"idle_session_timeout": "0",
	// A frozen process must not keep a table locked.
	"idle_in_transaction_session_timeout": "5s",
	// The session of a lost client ends, and with it the lock of the migration. What
	// the session is doing is completed first: a half-built index is worth nothing.
	"tcp_keepalives_idle":     "5",
	"tcp_keepalives_interval": "2",
	"tcp_keepalives_count":    "3",
}

// Migrate applies all pending migrations of a service's schema, as the schema's
// owner. One call at a time works on a schema. The others wait for it, until ctx
// ends, and log what they wait for every ten seconds.
//
// A migration in a transaction waits 200 ms at most for the lock of a table, because
// the shop waits behind it. Migrate tries again after a pause of one second, which
// grows to ten, each half to one and a half times as long at random. It gives up when
// one migration has got no lock for half an hour.
//
// A migration outside a transaction builds or drops one index CONCURRENTLY. It may
// take hours, and waits for older transactions without a limit: none waits for it.
// The end of ctx cancels it. An index left invalid, by a session that was killed for
// example, is rebuilt by the next call of Migrate.
func Migrate(ctx context.Context, url, schema string, migrations fs.FS, log *slog.Logger) error {
	if url == "" {
		return fmt.Errorf("MIGRATE_DATABASE_URL is not set (for example postgres://%s_owner:…@127.0.0.1:5432/lavka)", schema)
	}
	cfg, err := pgconfig.Parse(url)
	if err != nil || !plain(cfg) {
		return unreadable("MIGRATE_DATABASE_URL", err)
	}
	for name, value := range migrateSettings {
		cfg.RuntimeParams[name] = value
	}
	cfg.RuntimeParams["application_name"] = schema + " migrate"
	// When ctx ends, ask the server to cancel the statement and wait for its answer.
	// By default the connection is only closed, and an index is built to its end.
	cfg.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: 5 * time.Second}
	}
	// The lock of the migrations belongs to a session, and so does its lock_timeout.
	db := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		return holds(ctx, conn, "MIGRATE_DATABASE_URL", map[string]string{"lock_timeout": migrateSettings["lock_timeout"]})
	}))
	defer db.Close()
	_ = whileRefused(ctx, func() error { return db.PingContext(ctx) }) // what follows returns any error
	steps, err := fs.Sub(migrations, folder)
	if err != nil {
		return fmt.Errorf("find migrations: %w", err)
	}
	session := &migrateSession{schema: schema, steps: steps, log: log}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, steps,
		goose.WithTableName(schema+".schema_version"), goose.WithSessionLocker(session), goose.WithSlog(log))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	session.sources = provider.ListSources()
	reporting, stop := context.WithCancel(ctx)
	var reporter sync.WaitGroup
	reporter.Go(func() { session.report(reporting, db) })
	defer reporter.Wait()
	defer stop()

	for err == nil {
		err = session.applyNext(ctx, provider)
	}
	if errors.Is(err, goose.ErrNoNextVersion) {
		err = session.finish(ctx, db)
	}
	if err != nil {
		return fmt.Errorf("migrate %s: %w", schema, refusedByPooler("MIGRATE_DATABASE_URL", err))
	}
	return nil
}

// applyNext applies the next migration, in as many tries as its locks need.
func (s *migrateSession) applyNext(ctx context.Context, provider *goose.Provider) error {
	begin := time.Now()
	for try := 1; ; try++ {
		result, err := provider.UpByOne(ctx)
		if err == nil {
			s.log.InfoContext(ctx, "migrated", "schema", s.schema, "version", result.Source.Version, "duration", time.Since(begin))
			return nil
		}
		s.gaveWay = LockTimeout(err) || Code(err) == deadlockDetected
		if !s.gaveWay {
			return err
		}
		if time.Since(begin) > patience {
			return fmt.Errorf("other transactions have kept a table locked for %v: end them and run this again: %w", patience, err)
		}
		pause := min(time.Duration(try)*firstPause, longestPause)
		pause = pause/2 + rand.N(pause)
		s.log.WarnContext(ctx, "a table is locked; retrying", "schema", s.schema, "try", try, "pause", pause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// folder holds the migrations in the file system passed in.
const folder = "migrations"

func lastVersion(migrations fs.FS) (int64, error) {
	names, err := fs.Glob(migrations, folder+"/*.sql")
	if err != nil {
		return 0, err
	}
	var last int64
	for _, name := range names {
		v, err := goose.NumericComponent(name)
		if err != nil {
			return 0, fmt.Errorf("migration %s: %w", name, err)
		}
		last = max(last, v)
	}
	if last == 0 {
		return 0, errors.New("there are no migrations")
	}
	return last, nil
}

// CheckVersion fails unless Postgres answers and the schema's version is at least
// that of the last migration. A newer version is fine: migrations only expand.
func CheckVersion(ctx context.Context, q Querier, schema string, migrations fs.FS) error {
	atLeast, err := lastVersion(migrations)
	if err != nil {
		return err
	}
	var version int64
	table := pgx.Identifier{schema, "schema_version"}.Sanitize()
	err = q.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM "+table+" WHERE is_applied").Scan(&version)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if version < atLeast {
		return fmt.Errorf("schema %s is at version %d and this release needs %d: run its migrate command", schema, version, atLeast)
	}
	return nil
}
