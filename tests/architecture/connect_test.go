package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

// nats.Connect gives up after 2 s unless it is told otherwise. A test that waits no
// longer fails on a busy machine without a fault in the code.
func TestNATSClientsSayHowLongTheyWait(t *testing.T) {
	t.Parallel()
	found := 0
	eachGoFile(t, parser.SkipObjectResolution, func(_ string, files *token.FileSet, file *ast.File) {
		all, wrong := natsConnects(file)
		found += all
		for _, pos := range wrong {
			t.Errorf("%s: nats.Connect without nats.Timeout: use natstest.Connect in tests, natsconn in services", files.Position(pos))
		}
	})
	if found == 0 {
		t.Error("no call of nats.Connect was found")
	}
}

func TestTheRuleForNATSClientsCanFail(t *testing.T) {
	t.Parallel()
	for call, allowed := range map[string]bool{
		"nats.Connect(url)":                                        false,
		"nats.Connect(url, nats.MaxReconnects(-1))":                false,
		"nats.Connect(url, nats.Timeout(time.Second))":             true,
		"nats.Connect(url, append(o, nats.Timeout(x))...)":         true,
		"natstest.Connect(url, nats.MaxReconnects(-1), nats.X(1))": true,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p\nfunc f() { "+call+" }", 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, wrong := natsConnects(file); (len(wrong) == 0) != allowed {
			t.Errorf("%s: allowed is %v", call, len(wrong) == 0)
		}
	}
}

// natsConnects counts the calls of nats.Connect in a file, and returns those without
// nats.Timeout among their arguments.
func natsConnects(file *ast.File) (all int, wrong []token.Pos) {
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !isNATS(call, "Connect") {
			return true
		}
		all++
		limited := false
		for _, arg := range call.Args {
			ast.Inspect(arg, func(n ast.Node) bool {
				inner, ok := n.(*ast.CallExpr)
				limited = limited || ok && isNATS(inner, "Timeout")
				return true
			})
		}
		if !limited {
			wrong = append(wrong, call.Pos())
		}
		return true
	})
	return all, wrong
}

// isNATS reports whether a call is of a function of package nats.
func isNATS(call *ast.CallExpr, name string) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != name {
		return false
	}
	pkg, ok := f.X.(*ast.Ident)
	return ok && pkg.Name == "nats"
}
