package pgtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pgconfig"
)

// Fill runs statements that insert many rows into a schema, as the superuser. The schema's indexes are built afterwards, which is several
// times as fast, and foreign keys are not checked. Fill also vacuums and analyzes, as autovacuum would have done by then.
func (d Database) Fill(t testing.TB, schema string, inserts ...string) {
	t.Helper()
	d.FillBy(t, schema, func(ctx context.Context, conn *pgx.Conn) error {
		for _, sql := range inserts {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
}

// FillBy is [Fill] for rows that SQL can't make.
func (d Database) FillBy(t testing.TB, schema string, insert func(context.Context, *pgx.Conn) error) {
	t.Helper()
	run := func(statements ...string) {
		t.Helper()
		conn := d.connect(t)
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
	conn := d.connect(t)
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), `SET session_replication_role = replica`); err != nil {
		t.Fatal(err)
	}
	if err := insert(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	run(`SET maintenance_work_mem = '256MB'`, `REINDEX SCHEMA `+schema, `VACUUM (ANALYZE)`)
	run(`DO $$ BEGIN ASSERT (SELECT bool_and(indisready AND indisvalid) FROM pg_index); END $$`)
}

func (d Database) connect(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := pgconfig.Connect(t.Context(), d.AdminURL())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
