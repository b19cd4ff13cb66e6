// Package migrationtest tests the migrations of a service: what each of them locks and drops, how it behaves beside a shop
// under load, and that every state in which a release before may have left a schema ends in the same schema.
package migrationtest

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
)

// Service is a service whose migrations are tested. Its test binary must use [pgtest.Service].
type Service struct {
	Schema     string
	Migrations fs.FS // with the folder migrations
	// Load are the transactions that the service runs all the time, each a list of statements. In them $1 is a bigint that is
	// used once. They must work on every version of the schema that has their tables.
	Load [][]string
	// Guarded are inserts that succeed once. From then on, each must be refused as a duplicate at every moment.
	Guarded []string
	// Rows are inserts that Load and Guarded need.
	Rows []string
}

// file is a migration.
type file struct {
	version int64
	name    string
	text    string
}

// concurrent reports whether the file runs outside a transaction.
func (f file) concurrent() bool { return strings.Contains(f.text, "-- +goose NO TRANSACTION\n") }

func (f file) String() string { return f.name }

func files(migrations fs.FS) ([]file, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var all []file
	for _, name := range names {
		version, err := goose.NumericComponent(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		text, err := fs.ReadFile(migrations, name)
		if err != nil {
			return nil, err
		}
		all = append(all, file{version, path.Base(name), string(text)})
	}
	slices.SortFunc(all, func(a, b file) int { return int(a.version - b.version) })
	if len(all) == 0 {
		return nil, fmt.Errorf("there are no migrations")
	}
	return all, nil
}

// upTo returns the migrations up to a version.
func upTo(all []file, version int64) fs.FS {
	some := fstest.MapFS{}
	for _, f := range all {
		if f.version <= version {
			some["migrations/"+f.name] = &fstest.MapFile{Data: []byte(f.text)}
		}
	}
	return some
}

// database is a database with an empty schema.
type database struct {
	pgtest.Database
	schema string
	admin  *pgx.Conn
}

func newDatabase(t *testing.T, schema string) database {
	t.Helper()
	d := database{Database: pgtest.New(t), schema: schema}
	d.admin = pgtest.Connect(t, d.AdminURL())
	d.exec(t, fmt.Sprintf(`DROP SCHEMA %[1]s CASCADE; CREATE SCHEMA %[1]s AUTHORIZATION %[1]s_owner; GRANT USAGE ON SCHEMA %[1]s TO %[1]s`, schema))
	return d
}

// exec runs statements as the superuser.
func (d database) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := d.admin.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (d database) migrate(ctx context.Context, migrations fs.FS) error {
	return pg.Migrate(ctx, d.URL(d.schema+"_owner"), d.schema, migrations, slog.New(slog.DiscardHandler))
}

func (d database) mustMigrate(t *testing.T, migrations fs.FS) {
	t.Helper()
	if err := d.migrate(t.Context(), migrations); err != nil {
		t.Fatal(err)
	}
}
