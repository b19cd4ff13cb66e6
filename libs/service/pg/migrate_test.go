package pg_test

import (
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
)

func migrations(sql ...string) fs.FS {
	files := fstest.MapFS{}
	for i, s := range sql {
		files["migrations/0000"+string(rune('1'+i))+"_step.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + s + ";\n")}
	}
	return files
}

var quiet = slog.New(slog.DiscardHandler)

func TestMigrate(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pool := open(t, db)
	first := migrations(`CREATE TABLE shelf.more (id int)`)
	second := migrations(`CREATE TABLE shelf.more (id int)`, `ALTER TABLE shelf.more ADD COLUMN name text`)
	if err := pg.CheckVersion(t.Context(), pool, "shelf", first); err == nil {
		t.Error("a schema that was never migrated is new enough")
	}
	// Several at once, again and again: each step is done once.
	for _, step := range []fs.FS{first, first, second} {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := pg.Migrate(t.Context(), db.AdminURL(), "shelf", step, quiet); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	// At least that version: the release before runs on the new schema.
	for atLeast, want := range map[int]bool{1: true, 2: true, 3: false} {
		err := pg.CheckVersion(t.Context(), pool, "shelf", migrations(make([]string, atLeast)...))
		if (err == nil) != want || (err != nil && !strings.Contains(err.Error(), "run its migrate command")) {
			t.Errorf("at least %d: %v", atLeast, err)
		}
	}
	if err := pg.Migrate(t.Context(), db.AdminURL(), "shelf", migrations(`SELECT 1`, `SELECT 1`, `CREATE TABLE shelf.more (id int)`), quiet); err == nil {
		t.Error("a step that fails is no error")
	}
	if err := pg.CheckVersion(t.Context(), pool, "shelf", fstest.MapFS{}); err == nil {
		t.Error("no migrations are no error")
	}
}

// A table that is in use must not stop the shop: the migration gives way, and
// comes back.
func TestMigrateGivesWay(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	holder, err := pgx.Connect(t.Context(), db.AdminURL()) // without the limits of a service's session
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { holder.Close(t.Context()) })
	if _, err := holder.Exec(t.Context(), `BEGIN; LOCK TABLE shelf.things IN ACCESS SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- pg.Migrate(t.Context(), db.AdminURL(), "shelf", migrations(`ALTER TABLE shelf.things ADD COLUMN price int`), quiet)
	}()
	waiting := func() (n int) {
		if err := holder.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE relation = 'shelf.things'::regclass AND NOT granted`).Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	waittest.Eventually(t, "it waits for the table", func() bool { return waiting() == 1 })
	waittest.Eventually(t, "it gives way", func() bool { return waiting() == 0 })
	waittest.Eventually(t, "it comes back", func() bool { return waiting() == 1 })
	if _, err := holder.Exec(t.Context(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
