package migrationtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"lavka/libs/testkit/pgtest"
)

// Expected checks that guards lists every unique index of the schema, as verify looks for them (lavka/libs/service/schemacheck).
func (s Service) Expected(t *testing.T, guards []string) {
	t.Helper()
	t.Parallel()
	rows, err := pgtest.Connect(t, pgtest.New(t).AdminURL()).Query(t.Context(), `
		SELECT replace(pg_get_indexdef(i.indexrelid), 'CREATE UNIQUE INDEX ', '')
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indisunique AND c.relnamespace = $1::text::regnamespace ORDER BY c.relname`, s.Schema)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(all, guards) {
		t.Errorf("the schema has\n\t%s\nand Expected lists\n\t%s", strings.Join(all, "\n\t"), strings.Join(guards, "\n\t"))
	}
}
