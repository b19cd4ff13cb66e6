package pg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Migrate applies all pending migrations of a service's schema, as the schema's
// owner. Several may run at once: goose's session lock lets one at a time work,
// and the others wait for it up to a minute. A migration waits for a table lock at
// most two seconds, so that it can't stop the shop by queueing for a lock. Migrate
// tries 30 times, with pauses that grow by 0.2 s: a minute and a half in all.
func Migrate(ctx context.Context, url, schema string, migrations fs.FS, log *slog.Logger) error {
	if url == "" {
		return fmt.Errorf("MIGRATE_DATABASE_URL is not set (for example postgres://%s_owner:…@127.0.0.1:5432/lavka)", schema)
	}
	cfg, err := pgx.ParseConfig(url)
	if err != nil || !plain(cfg) {
		return errors.New("MIGRATE_DATABASE_URL can't be read as a Postgres URL")
	}
	cfg.RuntimeParams["lock_timeout"] = "2000"
	cfg.RuntimeParams["application_name"] = schema + " migrate"
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
	if err != nil {
		return fmt.Errorf("create migration lock: %w", err)
	}
	steps, err := fs.Sub(migrations, folder)
	if err != nil {
		return fmt.Errorf("find migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, steps,
		goose.WithTableName(schema+".schema_version"), goose.WithSessionLocker(locker), goose.WithSlog(log))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	for try := 1; ; try++ {
		results, err := provider.Up(ctx)
		for _, r := range results {
			log.InfoContext(ctx, "migrated", "schema", schema, "version", r.Source.Version, "duration", r.Duration)
		}
		if err == nil {
			return nil
		}
		if !LockTimeout(err) || try == 30 {
			return fmt.Errorf("migrate %s: %w", schema, err)
		}
		log.WarnContext(ctx, "a table is locked; retrying", "schema", schema, "try", try)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(try) * 200 * time.Millisecond):
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
func CheckVersion(ctx context.Context, pool *pgxpool.Pool, schema string, migrations fs.FS) error {
	atLeast, err := lastVersion(migrations)
	if err != nil {
		return err
	}
	var version int64
	table := pgx.Identifier{schema, "schema_version"}.Sanitize()
	err = pool.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM "+table+" WHERE is_applied").Scan(&version)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if version < atLeast {
		return fmt.Errorf("schema %s is at version %d and this release needs %d: run its migrate command", schema, version, atLeast)
	}
	return nil
}
