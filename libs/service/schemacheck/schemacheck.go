// Package schemacheck finds what a schema has lost that the service relies on without
// looking: unique indexes, and sequences that are ahead of all ids.
package schemacheck

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/lineage"
	"lavka/libs/service/pg"
)

// ErrFound means that a check has found a fault. Its text says what to do.
var ErrFound = errors.New("the schema is damaged")

// Expected is what a schema must have.
type Expected struct {
	Schema string
	// Guards are its unique indexes, as pg_get_indexdef writes them, without "CREATE UNIQUE INDEX".
	Guards []string
	// Sequences are those that belong to no column. Those of identity columns are found.
	Sequences []Sequence
}

// Sequence is a sequence whose values are the ids in a column. All names are without
// the schema.
type Sequence struct{ Name, Table, Column string }

// Check returns ErrFound with the first fault. The role of the service may run it,
// while the service is running; in a transaction, the ids may be older than the
// sequences.
func Check(ctx context.Context, q pg.Querier, e Expected) error {
	for _, check := range []func(context.Context, pg.Querier, Expected) (string, error){guards, sequences, restored} {
		found, err := check(ctx, q, e)
		if err != nil {
			return err
		}
		if found != "" {
			return fmt.Errorf("%w: %s", ErrFound, found)
		}
	}
	return nil
}

func restored(ctx context.Context, q pg.Querier, e Expected) (string, error) {
	return lineage.Check(ctx, q, e.Schema)
}

const create = "CREATE UNIQUE INDEX "

// index is a unique index. One that is being built or dropped guards nothing.
type index struct {
	Name, Definition string
	Whole            bool
}

func guards(ctx context.Context, q pg.Querier, e Expected) (string, error) {
	all, err := pg.Rows(ctx, q, "read the unique indexes", pgx.RowToStructByPos[index], `
		SELECT c.relname, pg_get_indexdef(c.oid), i.indisvalid AND i.indisready AND i.indislive AND i.indimmediate
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND i.indisunique`, e.Schema)
	if err != nil {
		return "", err
	}
	there := map[string]index{}
	for _, one := range all {
		there[one.Name] = one
	}
	for _, guard := range e.Guards {
		name, _, _ := strings.Cut(guard, " ")
		is, ok := there[name]
		switch {
		case !ok:
			return fmt.Sprintf("the unique index %s.%s is missing, and nothing else refuses duplicates; as %s_owner, run: %s%s", e.Schema, name, e.Schema, create, guard), nil
		case !is.Whole:
			return fmt.Sprintf("the unique index %s.%s is invalid, and may accept duplicates; run %s migrate, which rebuilds it", e.Schema, name, e.Schema), nil
		case is.Definition != create+guard:
			return fmt.Sprintf("the unique index %s.%s is another one: it is %q, and must be %q", e.Schema, name, is.Definition, create+guard), nil
		}
	}
	return "", nil
}

func sequences(ctx context.Context, q pg.Querier, e Expected) (string, error) {
	all, err := pg.Rows(ctx, q, "read the sequences", pgx.RowToStructByPos[Sequence], `
		SELECT s.relname, t.relname, a.attname
		FROM pg_depend d
			JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
			JOIN pg_class t ON t.oid = d.refobjid
			JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
			JOIN pg_namespace n ON n.oid = s.relnamespace
		WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('i', 'a') AND n.nspname = $1
		ORDER BY 1`, e.Schema)
	if err != nil {
		return "", err
	}
	for _, s := range append(all, e.Sequences...) {
		sequence, table := pgx.Identifier{e.Schema, s.Name}.Sanitize(), pgx.Identifier{e.Schema, s.Table}.Sanitize()
		var last, highest int64
		err := q.QueryRow(ctx, `SELECT last_value - (NOT is_called)::int, coalesce((SELECT max(`+pgx.Identifier{s.Column}.Sanitize()+`) FROM `+table+`), 0) FROM `+sequence).Scan(&last, &highest)
		if err != nil {
			return "", pg.Wrap("compare a sequence with its ids", err)
		}
		if last < highest {
			return fmt.Sprintf("the sequence %[1]s.%[2]s has reached %[3]d, but the highest id in %[1]s.%[4]s is %[5]d, so it would give out ids again; as %[1]s_owner, run: SELECT setval('%[1]s.%[2]s', %[5]d)",
				e.Schema, s.Name, last, s.Table, highest), nil
		}
	}
	return "", nil
}
