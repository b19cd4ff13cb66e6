package migrationtest

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pgconfig"
)

// Rules checks that no migration can stop the shop, or drop what guards it. It asks Postgres rather than parsing SQL: each
// file is run on the schema that the files before have made, and then what it has locked, read, rewritten and dropped is
// looked up, before it is rolled back and applied.
func (s Service) Rules(t *testing.T) {
	t.Parallel()
	for _, problem := range s.problems(t) {
		t.Error(problem)
	}
}

var (
	comment = regexp.MustCompile(`(?m)--.*$`)
	// A concurrent statement can be repeated after an interruption.
	repeatable = regexp.MustCompile(`(?is)^\s*(CREATE\s+(UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+IF\s+NOT\s+EXISTS|DROP\s+INDEX\s+CONCURRENTLY\s+IF\s+EXISTS)\s[^;]+;\s*$`)
)

func (s Service) problems(t *testing.T) (problems []string) {
	t.Helper()
	all, err := files(s.Migrations)
	if err != nil {
		t.Fatal(err)
	}
	db := newDatabase(t, s.Schema)
	for i, f := range all {
		var found []string
		guards := guardsOf(t, db.admin, s.Schema)
		if strings.Contains(f.text, "+goose Down") {
			found = append(found, "has a Down part, but migrations only expand: remove it")
		}
		if f.concurrent() {
			if !repeatable.MatchString(comment.ReplaceAllString(f.text, "")) {
				found = append(found, "runs outside a transaction, so an interruption may leave a part of it done: it must be exactly one statement, "+
					"CREATE [UNIQUE] INDEX CONCURRENTLY IF NOT EXISTS or DROP INDEX CONCURRENTLY IF EXISTS")
			}
		} else if i > 0 { // the first has nothing that it could harm
			found = append(found, s.inTransaction(t, db, f, guards)...)
		}
		if len(found) == 0 {
			if err := db.migrate(t.Context(), upTo(all, f.version)); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			if lost := lostGuards(guards, guardsOf(t, db.admin, s.Schema)); f.concurrent() && len(lost) > 0 {
				found = append(found, fmt.Sprintf("drops the unique index %s, but can't check that another index guards the same: drop it in a transaction, after a check", lost[0].name))
			}
		}
		for _, problem := range found {
			problems = append(problems, f.name+" "+problem)
		}
		if len(found) > 0 {
			return problems // the files after it build on it
		}
	}
	return problems
}

// inTransaction runs the file in a transaction that it rolls back.
func (s Service) inTransaction(t *testing.T, db database, f file, guards map[uint32]guard) (found []string) {
	t.Helper()
	before := tablesOf(t, db.admin, s.Schema)
	lost := []guard{}
	err := s.tryOut(t, db, f, func(tx pgx.Tx) {
		after := tablesOf(t, tx, s.Schema)
		var locked, read []string
		for _, oid := range slices.Sorted(maps.Keys(before)) {
			b := before[oid]
			a, there := after[oid]
			switch {
			case !there:
				found = append(found, fmt.Sprintf("drops the table %s, which the release before needs", b.name))
				continue
			case a.file != b.file:
				found = append(found, fmt.Sprintf("rewrites the table %s while it is locked: add a column without a default, or with a constant one, and fill it in parts", b.name))
				continue
			}
			for _, column := range b.columns {
				if !strings.Contains(" "+strings.Join(a.columns, " ")+" ", " "+column+" ") {
					found = append(found, fmt.Sprintf("drops or renames the column %s.%s, which the release before needs", b.name, column))
				}
			}
			if a.locked {
				locked = append(locked, b.name)
			}
			if a.scans > 0 {
				read = append(read, b.name)
			}
			if a.written {
				found = append(found, fmt.Sprintf("writes rows of the table %s, which keeps them locked until the end: write them in parts, in the service", b.name))
			}
		}
		if len(locked) > 1 {
			found = append(found, fmt.Sprintf("locks %s, so while it waits for one it holds up the shop with another: use a migration for each", strings.Join(locked, " and ")))
		}
		if len(locked) > 0 && len(read) > 0 {
			found = append(found, fmt.Sprintf("reads all of %s while it holds a lock against writers on %s: add a constraint as NOT VALID and VALIDATE it in another migration, "+
				"SET NOT NULL after such a CHECK, build an index CONCURRENTLY", strings.Join(read, " and "), strings.Join(locked, " and ")))
		}
		lost = lostGuards(guards, guardsOf(t, tx, s.Schema))
	})
	if err != nil {
		return append(found, "fails: "+err.Error())
	}
	for _, g := range lost {
		heir, ok := guards[0], false
		for _, other := range guards {
			if other.oid != g.oid && other.valid && other.table == g.table && other.covers(g) {
				heir, ok = other, true
			}
		}
		if !ok {
			found = append(found, fmt.Sprintf("drops the unique index %s, but no valid unique index on the same columns is there before it", g.name))
			continue
		}
		db.exec(t, fmt.Sprintf(`UPDATE pg_index SET indisvalid = false WHERE indexrelid = %d`, heir.oid))
		if err := s.tryOut(t, db, f, nil); err == nil {
			found = append(found, fmt.Sprintf("drops the unique index %s even if %s, which replaces it, is invalid: RAISE EXCEPTION unless pg_index.indisvalid", g.name, heir.name))
		}
		db.exec(t, fmt.Sprintf(`UPDATE pg_index SET indisvalid = true WHERE indexrelid = %d`, heir.oid))
	}
	return found
}

// tryOut runs the file as the schema's owner, looks at the transaction, and rolls it back.
func (s Service) tryOut(t *testing.T, db database, f file, look func(pgx.Tx)) error {
	t.Helper()
	conn, err := pgconfig.Connect(t.Context(), db.URL(s.Schema+"_owner")) // a session of its own, for its statistics
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	if _, err := conn.PgConn().Exec(t.Context(), f.text).ReadAll(); err != nil {
		return err
	}
	if look != nil {
		look(tx)
	}
	return nil
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// table is a table, and what the current transaction has done to it.
type table struct {
	oid, file uint32
	name      string
	columns   []string
	locked    bool // against writers
	written   bool
	scans     int64
}

func tablesOf(t *testing.T, q querier, schema string) map[uint32]table {
	t.Helper()
	return byID(t, q, func(table table) uint32 { return table.oid }, func(row pgx.CollectableRow) (o table, err error) {
		err = row.Scan(&o.oid, &o.file, &o.name, &o.columns, &o.locked, &o.written, &o.scans)
		return o, err
	}, `
		WITH locks AS (
			SELECT relation, mode FROM pg_locks
			WHERE pid = pg_backend_pid() AND granted AND locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
		)
		SELECT c.oid, pg_relation_filenode(c.oid), c.relname::text,
			ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
			EXISTS (SELECT FROM locks WHERE relation = c.oid AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')),
			EXISTS (SELECT FROM locks WHERE relation = c.oid AND mode = 'RowExclusiveLock'),
			pg_stat_get_xact_numscans(c.oid)
		FROM pg_class c WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'schema_version'`, schema)
}

// guard is a unique index.
type guard struct {
	oid, table uint32
	name       string
	valid      bool
	columns    []string // what must be unique, sorted
	only       string   // the predicate, or ""
}

// covers reports whether g refuses every duplicate that other refuses. NULLs are never duplicates, so an index may leave
// them out.
func (g guard) covers(other guard) bool {
	if strings.Join(g.columns, ",") != strings.Join(other.columns, ",") {
		return false
	}
	if g.only == "" || g.only == other.only {
		return true
	}
	for _, column := range g.columns {
		if g.only == "("+column+" IS NOT NULL)" {
			return true
		}
	}
	return false
}

func guardsOf(t *testing.T, q querier, schema string) map[uint32]guard {
	t.Helper()
	return byID(t, q, func(g guard) uint32 { return g.oid }, func(row pgx.CollectableRow) (g guard, err error) {
		err = row.Scan(&g.oid, &g.table, &g.name, &g.valid, &g.columns, &g.only)
		return g, err
	}, `
		SELECT i.indexrelid, i.indrelid, c.relname::text, i.indisvalid,
			ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnkeyatts) k ORDER BY 1),
			coalesce(pg_get_expr(i.indpred, i.indrelid), '')
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		WHERE c.relnamespace = $1::text::regnamespace AND i.indisunique`, schema)
}

// lostGuards are those that are gone. Their tables are still there, or that is another problem.
func lostGuards(before, after map[uint32]guard) (lost []guard) {
	for _, oid := range slices.Sorted(maps.Keys(before)) {
		if _, there := after[oid]; !there {
			lost = append(lost, before[oid])
		}
	}
	return lost
}

func byID[T any](t *testing.T, q querier, id func(T) uint32, scan pgx.RowToFunc[T], sql, schema string) map[uint32]T {
	t.Helper()
	rows, err := q.Query(t.Context(), sql, schema)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, scan)
	if err != nil {
		t.Fatal(err)
	}
	found := map[uint32]T{}
	for _, one := range all {
		found[id(one)] = one
	}
	return found
}
