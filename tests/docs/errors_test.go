// Package docs checks the documentation against the source.
package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lavka/libs/domain/problem"
	"lavka/libs/service/httpproblem"
)

const root = "../.."

// sections maps each heading of docs/errors.md to the folder whose problems it lists.
var sections = map[string]string{
	"Every service": "libs",
	"auth":          "services/auth",
	"catalog":       "services/catalog",
	"billing":       "services/billing",
	"The gateway":   "deploy/local/gateway",
}

// kinds maps the names of problem.Kind in the source to their values.
var kinds = map[string]problem.Kind{
	"Internal": problem.Internal, "Malformed": problem.Malformed, "Unauthenticated": problem.Unauthenticated,
	"PaymentRequired": problem.PaymentRequired, "Forbidden": problem.Forbidden, "NotFound": problem.NotFound,
	"MethodNotAllowed": problem.MethodNotAllowed, "Conflict": problem.Conflict, "Gone": problem.Gone,
	"PreconditionFailed": problem.PreconditionFailed, "TooLarge": problem.TooLarge,
	"UnsupportedMediaType": problem.UnsupportedMediaType, "Invalid": problem.Invalid, "TooMany": problem.TooMany, "ClientGone": problem.ClientGone,
	"BadGateway": problem.BadGateway, "Unavailable": problem.Unavailable,
}

// answer is what a client tells problems apart by.
type answer struct {
	code   string
	status int
}

// Every problem that a client can get must be listed, and every listed one must exist.
func TestEveryCodeIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "docs/errors.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := codesInDocs(string(text))
	for section, folder := range sections {
		source := codesInSource(t, folder)
		if len(source) == 0 {
			t.Errorf("%s creates no problems: was it moved?", folder)
		}
		for a, where := range source {
			if !documented[section][a] {
				t.Errorf("%s: docs/errors.md has no row | `%s` | %d | … under %q", where, a.code, a.status, section)
			}
		}
		for a := range documented[section] {
			if _, ok := source[a]; !ok {
				t.Errorf("docs/errors.md lists `%s` with %d under %q, but nothing in %s creates it", a.code, a.status, section, folder)
			}
		}
	}
	for section := range documented {
		if _, ok := sections[section]; !ok {
			t.Errorf("docs/errors.md lists codes under %q, a heading that is missing from sections", section)
		}
	}
}

// Problems may be created only in the folders that sections lists.
func TestProblemsAreCreatedInListedFolders(t *testing.T) {
	t.Parallel()
	known := slices.Collect(maps.Values(sections))
	for _, folder := range []string{"services", "deploy"} {
		for a, where := range codesInSource(t, folder) {
			if !slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(where, k+"/") }) {
				t.Errorf("%s creates the problem %s, but docs/errors.md has no section for it", where, a.code)
			}
		}
	}
}

var row = regexp.MustCompile("^\\| `([a-z_]+)` \\| ([0-9]{3}) \\| .+ \\| .+ \\|$")

// codesInDocs returns the codes in each section's table.
func codesInDocs(text string) map[string]map[answer]bool {
	all := map[string]map[answer]bool{}
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			section = heading
		}
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		status, err := strconv.Atoi(m[2])
		if err != nil { // never: the pattern has three digits there
			continue
		}
		if all[section] == nil {
			all[section] = map[answer]bool{}
		}
		all[section][answer{m[1], status}] = true
	}
	return all
}

// codesInSource finds problem.New and problem.Error{…} in the Go files of a
// folder, except tests and generated files. It returns each problem with its place.
func codesInSource(t *testing.T, folder string) map[answer]string {
	t.Helper()
	found := map[answer]string{}
	files := token.NewFileSet()
	err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".gen.go") {
			return err
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		where := func(n ast.Node) string {
			position := files.Position(n.Pos())
			return strings.TrimPrefix(filepath.ToSlash(position.Filename), root+"/") + ":" + strconv.Itoa(position.Line)
		}
		inspect(file, func(n ast.Node, kind, code ast.Expr) {
			a, ok := read(kind, code)
			if !ok {
				t.Errorf("%s: write the kind and the code of a problem as literals, so that docs/errors.md can be checked against them", where(n))
				return
			}
			found[a] = where(n)
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// inspect calls f with the kind and the code of every problem that a file creates.
func inspect(file *ast.File, f func(n ast.Node, kind, code ast.Expr)) {
	own := file.Name.Name == "problem"
	named := func(e ast.Expr, name string) bool {
		if own {
			id, ok := e.(*ast.Ident)
			return ok && id.Name == name
		}
		sel, ok := e.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != name {
			return false
		}
		pkg, ok := sel.X.(*ast.Ident)
		return ok && pkg.Name == "problem"
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			return !own || n.Name.Name != "New" // its caller passes both
		case *ast.CallExpr:
			if named(n.Fun, "New") && len(n.Args) == 3 {
				f(n, n.Args[0], n.Args[1])
			}
		case *ast.CompositeLit:
			if named(n.Type, "Error") {
				f(n, member(n, "Kind"), member(n, "Code"))
			}
		}
		return true
	})
}

func member(lit *ast.CompositeLit, name string) ast.Expr {
	for _, e := range lit.Elts {
		if pair, ok := e.(*ast.KeyValueExpr); ok {
			if id, ok := pair.Key.(*ast.Ident); ok && id.Name == name {
				return pair.Value
			}
		}
	}
	return nil
}

// read evaluates a kind, written as problem.Invalid or Invalid, and a literal code.
// It reports whether it could.
func read(kind, code ast.Expr) (answer, bool) {
	if sel, ok := kind.(*ast.SelectorExpr); ok {
		kind = sel.Sel
	}
	id, ok := kind.(*ast.Ident)
	if !ok {
		return answer{}, false
	}
	k, ok := kinds[id.Name]
	if !ok {
		return answer{}, false
	}
	lit, ok := code.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return answer{}, false
	}
	text, err := strconv.Unquote(lit.Value)
	return answer{text, httpproblem.Status(k)}, err == nil
}

// The scan itself: what it must find, and what it must report as unreadable.
func TestTheScanFindsProblems(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
		var a = problem.New(problem.Gone, "one", "…").Retry(1)
		var b = &problem.Error{Kind: problem.TooMany, Code: "two"}
		var c = problem.New(kind, "three", "…")
		var d = problem.New(problem.Gone, code, "…")
		var e = problem.Error{Detail: "…"}
		var f = other.New(problem.Gone, "four", "…")`, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []answer
	unreadable := 0
	inspect(file, func(_ ast.Node, kind, code ast.Expr) {
		if a, ok := read(kind, code); ok {
			got = append(got, a)
		} else {
			unreadable++
		}
	})
	if want := []answer{{"one", 410}, {"two", 429}}; !slices.Equal(got, want) || unreadable != 3 {
		t.Errorf("found %v, and %d unreadable ones", got, unreadable)
	}
	docs := codesInDocs("## auth\n| `one` | 410 | when | what |\n| code | status | when | what |\n## x\n`two`\n| `three` | 503 |\n")
	if len(docs) != 1 || len(docs["auth"]) != 1 || !docs["auth"][answer{"one", 410}] {
		t.Errorf("read %v", docs)
	}
}
