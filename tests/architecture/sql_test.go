package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// optional matches conditions of SQL that apply or not depending on a parameter.
var optional = regexp.MustCompile(`(?i)` + strings.Join([]string{
	`\$\d+(::[a-z]+)?\s+IS\s+(NOT\s+)?(NULL|DISTINCT)`,            // $1 IS NULL OR …
	`\$\d+(::[a-z]+)?\s*(=|<>|!=)\s*('|-?\d|NULL|TRUE|FALSE)`,     // $1 = '' OR …
	`('|\b\d+|NULL|TRUE|FALSE)\s*(=|<>|!=)\s*\$\d`,                // '' = $1 OR …
	`(=|<|>|<=|>=|<>)\s*coalesce\s*\(\s*\$\d`,                     // id < coalesce($1, …)
	`\b(WHERE|AND|OR)\s+(NOT\s+)?(\(\s*)?\$\d+(::[a-z]+)?\s+OR\b`, // $1 OR …
}, "|"))

// Postgres keeps one plan for all parameters of a prepared statement. A condition
// that only some parameters switch on is no condition to that plan: the statement
// reads all rows that the condition would have excluded. Each combination of filters
// is therefore a text of its own, and so are the first page and the next one.
func TestStatementsHaveNoOptionalConditions(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(root, "services/*/internal/postgres/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	texts := 0
	for _, file := range files {
		if ours(file) {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			texts++
			if found := optional.FindString(text); found != "" {
				t.Errorf("%s: %q: write a statement for each combination of filters, and one for the first page (docs/adr/0046-one-statement-per-page.md)", file, found)
			}
			return true
		})
	}
	if texts < 100 {
		t.Errorf("only %d texts were read; were the files moved?", texts)
	}
}

func TestOptionalConditionsAreFound(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`WHERE user_id = $1 AND ($2::bigint IS NULL OR id < $2)`:    true,
		`WHERE ($2::bigint = 0 OR id < $2)`:                         true,
		`WHERE ($1 = '' OR position($1 IN title_folded) > 0)`:       true,
		`WHERE ('' = $1 OR title = $1)`:                             true,
		`WHERE ($1, $2) IS NOT DISTINCT FROM ($1, $2)`:              false,
		`WHERE $1 IS NOT DISTINCT FROM title`:                       true,
		`WHERE id < coalesce($1, 9223372036854775807)`:              true,
		`WHERE ($1 OR id < 7)`:                                      true,
		`WHERE user_id >= $2 AND (user_id, id) < ($2, $3)`:          false,
		`WHERE id = $1 AND deleted_at IS NULL`:                      false,
		`VALUES ($1, CASE WHEN $4 THEN now() END, coalesce($2, 0))`: false,
		`WHERE role = 'admin' OR lower(login COLLATE "C") = $1`:     false,
	} {
		if got := optional.MatchString(text); got != want {
			t.Errorf("%s: found %v, want %v", text, got, want)
		}
	}
}
