package pgtest

import (
	"context"
	"testing"

	"lavka/libs/service/pgconfig"
)

// Fill runs statements that insert many rows into a schema, as the superuser. The schema's indexes are built afterwards, which is several
// times as fast, and foreign keys are not checked. Fill also vacuums and analyzes, as autovacuum would have done by then.
func (d Database) Fill(t testing.TB, schema string, inserts ...string) {
	t.Helper()
	run := func(statements ...string) {
		t.Helper()
		conn, err := pgconfig.Connect(t.Context(), d.AdminURL())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		for _, sql := range statements {
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
	}
	// An index that is not ready gets no entries. REINDEX builds it and makes it valid again.
	run(`UPDATE pg_index SET indisready = false, indisvalid = false
		FROM pg_class c WHERE c.oid = indrelid AND c.relnamespace = '` + schema + `'::regnamespace`)
	run(append([]string{`SET session_replication_role = replica`}, inserts...)...)
	run(`SET maintenance_work_mem = '256MB'`, `REINDEX SCHEMA `+schema, `VACUUM (ANALYZE)`)
	run(`DO $$ BEGIN ASSERT (SELECT bool_and(indisready AND indisvalid) FROM pg_index); END $$`)
}
