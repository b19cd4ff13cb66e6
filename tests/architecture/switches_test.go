package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"testing"
)

// A switch over a status has a default: a status that a later release adds, or a row
// that should not exist, is refused there and does not pass for another one.
func TestSwitchesOverAStatusHaveADefault(t *testing.T) {
	t.Parallel()
	found := 0
	eachGoFile(t, parser.SkipObjectResolution, func(name string, files *token.FileSet, file *ast.File) {
		if strings.HasSuffix(name, ".gen.go") {
			return
		}
		all, open := statusSwitches(file)
		found += all
		for _, pos := range open {
			t.Errorf("%s: this switch over a status has no default: add one that refuses", files.Position(pos))
		}
	})
	if found < 8 {
		t.Errorf("only %d switches over a status were found", found)
	}
}

// status matches the names of values that say what state something is in.
var status = regexp.MustCompile(`(?i)(status|statuscode|state|outcome|reason|decision|type|kind|role)$`)

// statusSwitches counts the switches over a status in a file, and returns the places
// of those without a default.
func statusSwitches(file *ast.File) (all int, open []token.Pos) {
	ast.Inspect(file, func(n ast.Node) bool {
		s, ok := n.(*ast.SwitchStmt)
		if !ok || !status.MatchString(lastName(s.Tag)) {
			return true
		}
		all++
		for _, c := range s.Body.List {
			if c.(*ast.CaseClause).List == nil {
				return true
			}
		}
		open = append(open, s.Pos())
		return true
	})
	return all, open
}

// lastName returns the name of a variable, a field or a function that is called.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.CallExpr:
		return lastName(e.Fun)
	default:
		return ""
	}
}

func TestTheRuleForSwitchesCanFail(t *testing.T) {
	t.Parallel()
	const source = `package p
func f() {
	switch x.Status() { case Active: }
	switch x.Status { case Active: default: }
	switch { case x.Status == Active: }
	switch n { case 1: }
}`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	if all, open := statusSwitches(file); all != 2 || len(open) != 1 {
		t.Errorf("%d switches, %d without a default; want 2 and 1", all, len(open))
	}
}
