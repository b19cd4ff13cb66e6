package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// Requests read through pg.Reader (short reads) or pg.Expensive (all others). A
// read in another pool could delay whatever shares that pool: purchases, workers,
// other users' pages.
func TestReadsSayWhatTheyCost(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(root, "services/*/internal/postgres/*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no stores: %v", err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, wrong := range readsOfWriters(parsed) {
			t.Errorf("%s: %s reads in the pool for writes: use pg.Collect, pg.CollectOne or pg.CollectExpensive", file, wrong)
		}
	}
}

func TestTheRuleOfReadsCanFail(t *testing.T) {
	t.Parallel()
	const store = "package postgres\nfunc (s *Store) F() { "
	for call, allowed := range map[string]bool{
		"pg.Rows(ctx, s.pool, \"list\", scan, sql)":                       false,
		"pg.One(ctx, s.pool, \"read\", missing, scan, `SELECT 1`)":        false,
		"s.pool.QueryRow(ctx, `SELECT 1`)":                                false,
		"s.pool.Query(ctx, sql)":                                          false,
		"pg.One(ctx, s.pool, \"add\", missing, scan, ` INSERT INTO t`)":   true,
		"pg.One(ctx, s.pool, \"add\", missing, scan, `INSERT` + columns)": true,
		"s.pool.Exec(ctx, `UPDATE t`)":                                    true,
		"pg.Collect(ctx, s.reads, \"read\", scan, `SELECT 1`)":            true,
		"pg.Rows(ctx, s.background, \"claim\", scan, sql)":                true,
	} {
		parsed, err := parser.ParseFile(token.NewFileSet(), "", store+call+" }", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(readsOfWriters(parsed)) == 0; got != allowed {
			t.Errorf("%s: allowed is %v", call, got)
		}
	}
}

// readsOfWriters returns the functions of a file that run a statement in the pool
// for writes and don't obviously change something: the statement is no text that
// begins with INSERT, UPDATE or DELETE.
func readsOfWriters(file *ast.File) (wrong []string) {
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			direct := isPool(name.X) && strings.HasPrefix(name.Sel.Name, "Query")
			passed := (name.Sel.Name == "Rows" || name.Sel.Name == "One") && len(call.Args) > 1 && isPool(call.Args[1])
			if (direct || passed) && !changes(call.Args) {
				wrong = append(wrong, f.Name.Name)
			}
			return true
		})
	}
	return wrong
}

// isPool reports whether an expression is s.pool.
func isPool(e ast.Expr) bool {
	s, ok := e.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "pool"
}

func changes(args []ast.Expr) bool {
	for _, arg := range args {
		for {
			sum, ok := arg.(*ast.BinaryExpr)
			if !ok {
				break
			}
			arg = sum.X
		}
		if text, ok := arg.(*ast.BasicLit); ok {
			sql := strings.TrimSpace(strings.Trim(text.Value, "`\""))
			if strings.HasPrefix(sql, "INSERT") || strings.HasPrefix(sql, "UPDATE") || strings.HasPrefix(sql, "DELETE") {
				return true
			}
		}
	}
	return false
}
