package migrationtest

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"lavka/libs/testkit/pgtest"
)

// first is the first migration of the schema that these tests use.
const first = "GRANT SELECT ON catalog.schema_version TO catalog;\n" +
	"CREATE TABLE catalog.things (id bigint PRIMARY KEY, code text CONSTRAINT things_code UNIQUE, name text NOT NULL DEFAULT '');\n" +
	"CREATE TABLE catalog.more (id bigint PRIMARY KEY);\n" +
	"GRANT SELECT, INSERT ON catalog.things, catalog.more TO catalog;\n"

const outside = "-- +goose NO TRANSACTION\n"

func migrations(texts ...string) fstest.MapFS {
	files := fstest.MapFS{}
	for i, text := range texts {
		head := ""
		if rest, ok := strings.CutPrefix(text, outside); ok {
			head, text = outside, rest
		}
		files[fmt.Sprintf("migrations/%05d_step.sql", i+1)] = &fstest.MapFile{Data: []byte(head + "-- +goose Up\n" + text + "\n")}
	}
	return files
}

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{Setup: pgtest.Service("catalog", migrations(first))})
}

const heir = outside + `CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS things_by_code ON catalog.things (code) WHERE code IS NOT NULL;`

func checked(statement string) string {
	return "-- +goose StatementBegin\nDO $$ BEGIN\n" +
		"IF NOT EXISTS (SELECT FROM pg_index WHERE indisvalid AND indexrelid = to_regclass('catalog.things_by_code')) THEN RAISE EXCEPTION 'no heir'; END IF;\n" +
		statement + "\nEND $$;\n-- +goose StatementEnd"
}

func TestRulesFindMistakes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files []string
		want  string // "": nothing is wrong
	}{
		"two statements":               {[]string{outside + "CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON catalog.things (name);\nCREATE INDEX CONCURRENTLY IF NOT EXISTS b ON catalog.things (name);"}, "must be exactly one statement"},
		"not repeatable":               {[]string{outside + "CREATE INDEX CONCURRENTLY a ON catalog.things (name);"}, "must be exactly one statement"},
		"not concurrent":               {[]string{outside + "ALTER TABLE catalog.things ADD COLUMN a text;"}, "must be exactly one statement"},
		"concurrent in a transaction":  {[]string{"CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON catalog.things (name);"}, "cannot run inside a transaction block"},
		"an index":                     {[]string{"CREATE INDEX a ON catalog.things (name);"}, "reads all of things"},
		"a check":                      {[]string{"ALTER TABLE catalog.things ADD CONSTRAINT a CHECK (id > 0);"}, "reads all of things"},
		"a column with a check":        {[]string{"ALTER TABLE catalog.things ADD COLUMN a int CHECK (a > 0);"}, "reads all of things"},
		"a foreign key":                {[]string{"ALTER TABLE catalog.things ADD CONSTRAINT a FOREIGN KEY (id) REFERENCES catalog.more NOT VALID;"}, "locks things and more"},
		"not null":                     {[]string{"ALTER TABLE catalog.things ALTER code SET NOT NULL;"}, "reads all of things"},
		"a unique constraint":          {[]string{"ALTER TABLE catalog.things ADD UNIQUE (name);"}, "reads all of things"},
		"validation under its lock":    {[]string{"ALTER TABLE catalog.things ADD CONSTRAINT a CHECK (id > 0) NOT VALID; ALTER TABLE catalog.things VALIDATE CONSTRAINT a;"}, "reads all of things"},
		"a volatile default":           {[]string{"ALTER TABLE catalog.things ADD COLUMN a uuid DEFAULT gen_random_uuid();"}, "rewrites the table things"},
		"a generated column":           {[]string{"ALTER TABLE catalog.things ADD COLUMN a text GENERATED ALWAYS AS (lower(name)) STORED;"}, "rewrites the table things"},
		"a type":                       {[]string{"ALTER TABLE catalog.more ALTER id TYPE numeric;"}, "rewrites the table more"},
		"rows":                         {[]string{"UPDATE catalog.things SET name = 'x';"}, "writes rows of the table things"},
		"two tables":                   {[]string{"ALTER TABLE catalog.things ADD COLUMN a int; ALTER TABLE catalog.more ADD COLUMN a int;"}, "locks "},
		"a column less":                {[]string{"ALTER TABLE catalog.things DROP COLUMN name;"}, "drops or renames the column things.name"},
		"a table less":                 {[]string{"DROP TABLE catalog.more;"}, "drops the table more"},
		"a way down":                   {[]string{"SELECT 1;\n-- +goose Down\nSELECT 1;"}, "has a Down part"},
		"a guard without an heir":      {[]string{"ALTER TABLE catalog.things DROP CONSTRAINT things_code;"}, "no valid unique index on the same columns"},
		"a guard with a smaller heir":  {[]string{strings.Replace(heir, "IS NOT NULL", "<> ''", 1), "ALTER TABLE catalog.things DROP CONSTRAINT things_code;"}, "no valid unique index on the same columns"},
		"a guard without a check":      {[]string{heir, "ALTER TABLE catalog.things DROP CONSTRAINT things_code;"}, "even if things_by_code, which replaces it, is invalid"},
		"a guard outside":              {[]string{heir, checked("ALTER TABLE catalog.things DROP CONSTRAINT things_code;"), outside + "DROP INDEX CONCURRENTLY IF EXISTS catalog.things_by_code;"}, "00004_step.sql drops the unique index things_by_code"},
		"a guard with an heir":         {[]string{heir, checked("ALTER TABLE catalog.things DROP CONSTRAINT things_code;")}, ""},
		"columns":                      {[]string{"ALTER TABLE catalog.things ADD COLUMN a text NOT NULL DEFAULT '', ADD COLUMN b timestamptz DEFAULT now(), ADD COLUMN c int CHECK (c > 0) NO INHERIT;"}, "reads all of things"},
		"good columns":                 {[]string{"ALTER TABLE catalog.things ADD COLUMN a text NOT NULL DEFAULT '', ADD COLUMN b timestamptz DEFAULT now();"}, ""},
		"a check and then validation":  {[]string{"ALTER TABLE catalog.things ADD CONSTRAINT a CHECK (code IS NOT NULL) NOT VALID;", "ALTER TABLE catalog.things VALIDATE CONSTRAINT a;", "ALTER TABLE catalog.things ALTER code SET NOT NULL;"}, ""},
		"a new table that refers back": {[]string{"CREATE TABLE catalog.new (id bigint REFERENCES catalog.things); CREATE INDEX ON catalog.new (id); INSERT INTO catalog.new VALUES (NULL);"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Service{Schema: "catalog", Migrations: migrations(append([]string{first}, test.files...)...)}
			got := strings.Join(s.problems(t), "\n")
			if !strings.Contains(got, test.want) || (test.want == "") != (got == "") {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
