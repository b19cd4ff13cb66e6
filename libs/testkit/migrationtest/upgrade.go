package migrationtest

import (
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"lavka/libs/testkit/pgtest"
)

// Upgrades checks that a schema which a release before has migrated, completely or in part, ends in the schema of a new
// shop. before holds all migrations of that release. Each of its files that runs outside a transaction may have been
// interrupted after any statement, or within one that builds an index, in the first run or in the one after it. All the
// while, what is guarded at the start stays guarded.
func (s Service) Upgrades(t *testing.T, before fs.FS) {
	t.Parallel()
	old, err := files(before)
	if err != nil {
		t.Fatal(err)
	}
	fresh := newDatabase(t, s.Schema)
	fresh.mustMigrate(t, s.Migrations)
	want := describe(t, fresh)

	var seen sync.Map // states of the schema, and the tests that began with them
	ends := func(t *testing.T, db database) {
		t.Helper()
		if other, again := seen.LoadOrStore(describe(t, db), t.Name()); again {
			t.Logf("%s begins with the same schema", other)
			return
		}
		watch := s.watch(t, db)
		db.mustMigrate(t, s.Migrations)
		watch.stop(t)
		if got := describe(t, db); got != want {
			t.Errorf("the schema differs from that of a new shop:\n%s", difference(want, got))
		}
	}
	t.Run("complete", func(t *testing.T) {
		t.Parallel()
		db := newDatabase(t, s.Schema)
		db.mustMigrate(t, upTo(old, old[len(old)-1].version))
		ends(t, db)
	})
	for i, f := range old {
		if !f.concurrent() {
			continue
		}
		statements := split(f.text)
		for done := range 2 * len(statements) {
			for _, left := range leftovers(statements[done%len(statements)], done >= len(statements)) {
				t.Run(fmt.Sprintf("%s/%d done%s", f.name, done, left), func(t *testing.T) {
					t.Parallel()
					db := newDatabase(t, s.Schema)
					db.mustMigrate(t, upTo(old, old[i-1].version))
					owner := pgtest.Connect(t, db.URL(s.Schema+"_owner"))
					for n := range done {
						run(t, owner, statements[n%len(statements)])
					}
					if left != "" {
						run(t, owner, statements[done%len(statements)])
						db.exec(t, fmt.Sprintf(`UPDATE pg_index SET indisvalid = false%s WHERE indexrelid = '%s.%s'::regclass`,
							map[string]string{unready: ", indisready = false"}[left], s.Schema, built.FindStringSubmatch(statements[done%len(statements)])[1]))
					}
					ends(t, db)
				})
			}
		}
	}
}

// What an interrupted CREATE INDEX CONCURRENTLY may leave: an index that is not maintained yet, or one that is, but can't
// be relied upon.
const (
	unready = ", and a part"
	invalid = ", and a larger part"
)

var built = regexp.MustCompile(`INDEX CONCURRENTLY (\w+) ON`)

// leftovers are how the statement may have been interrupted; "" is before it began. What a second run does differs only
// where it builds a guard again.
func leftovers(statement string, again bool) []string {
	switch unique := strings.Contains(statement, "CREATE UNIQUE INDEX"); {
	case unique:
		return []string{"", unready, invalid}
	case again:
		return nil
	case built.MatchString(statement):
		return []string{"", invalid}
	}
	return []string{""}
}

func split(text string) (statements []string) {
	for statement := range strings.SplitSeq(comment.ReplaceAllString(text, ""), ";") {
		if statement = strings.TrimSpace(statement); statement != "" {
			statements = append(statements, statement)
		}
	}
	return statements
}

func run(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// describe lists everything that migrations make in the schema.
func describe(t *testing.T, db database) string {
	t.Helper()
	rows, err := db.admin.Query(context.WithoutCancel(t.Context()), `
		SELECT format('table %s %s %s %s', c.relname, c.relkind, c.reloptions, c.relacl) FROM pg_class c
			WHERE c.relnamespace = $1::text::regnamespace AND c.relkind <> 'i'
		UNION ALL
		SELECT format('column %s.%s %s %s null:%s default:%s %s %s', c.relname, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
				pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attacl)
			FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
			WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p', 'v') AND a.attnum > 0 AND NOT a.attisdropped
		UNION ALL
		SELECT format('constraint %s.%s %s valid:%s', c.relname, o.conname, pg_get_constraintdef(o.oid), o.convalidated)
			FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid WHERE o.connamespace = $1::text::regnamespace
		UNION ALL
		SELECT format('index %s valid:%s ready:%s', pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisready)
			FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = $1::text::regnamespace
		UNION ALL
		SELECT format('trigger %s', pg_get_triggerdef(g.oid)) FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
			WHERE c.relnamespace = $1::text::regnamespace AND NOT g.tgisinternal
		UNION ALL
		SELECT format('function %s %s', pg_get_functiondef(p.oid), p.proacl) FROM pg_proc p WHERE p.pronamespace = $1::text::regnamespace
		UNION ALL
		SELECT format('version %s', version_id) FROM `+pgx.Identifier{db.schema, "schema_version"}.Sanitize()+` WHERE is_applied`, db.schema)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func difference(want, got string) string {
	var b strings.Builder
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, line := range w {
		if !slices.Contains(g, line) {
			fmt.Fprintln(&b, "missing:", line)
		}
	}
	for _, line := range g {
		if !slices.Contains(w, line) {
			fmt.Fprintln(&b, "not expected:", line)
		}
	}
	return b.String()
}
