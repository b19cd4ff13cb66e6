package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"lavka/deploy/postgres"
)

// Every list of a contract is cut by page.Cut, which bounds its rows and bytes and
// counts what it holds.
func TestListsAreCut(t *testing.T) {
	t.Parallel()
	lists := 0
	for _, service := range postgres.Services() {
		contract, err := openapi3.NewLoader().LoadFromFile(filepath.Join(root, "services", service, "api/openapi.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		handlers := filepath.Join(root, "services", service, "internal/httpapi")
		cut := methodsThatCall(t, handlers, "page", "Cut")
		maps.Copy(cut, methodsThatCall(t, handlers, "adminlog", "Page")) // which calls it
		for path, item := range contract.Paths.Map() {
			for method, op := range item.Operations() {
				schema := shown(op)
				if schema == nil || !hasArray(schema) {
					continue
				}
				if schema.Properties["next_cursor"] == nil {
					if !alone[op.OperationID] {
						t.Errorf("%s: %s %s answers with an array that has no pages: give it limit, cursor and next_cursor, or a bound and a line in alone", service, method, path)
					}
					continue
				}
				lists++
				if name := strings.ToUpper(op.OperationID[:1]) + op.OperationID[1:]; !cut[name] {
					t.Errorf("services/%s/internal/httpapi: %s does not call page.Cut: without it nothing bounds the bytes of its pages", service, name)
				}
			}
		}
	}
	if lists < 7 {
		t.Errorf("only %d lists were found", lists)
	}
}

// alone are operations whose arrays have bounds of their own.
var alone = map[string]bool{
	"listSessions": true, // at most auth.MaxSessions
	"getCustomer":  true, // at most billing.BillsShown bills
	"getKeys":      true, // the signing keys, which an operator chooses

	// At most catalog.MaxImages for a product, and 100 products in a batch.
	"getProduct": true, "getProductBySku": true, "patchProduct": true, "putProduct": true, "putProducts": true,
}

// shown returns the schema of an operation's JSON response 200, or nil.
func shown(op *openapi3.Operation) *openapi3.Schema {
	response := op.Responses.Value("200")
	if response == nil || response.Value == nil {
		return nil
	}
	content := response.Value.Content.Get("application/json")
	if content == nil || content.Schema == nil {
		return nil
	}
	return content.Schema.Value
}

func hasArray(s *openapi3.Schema) bool {
	for _, p := range s.Properties {
		if p.Value.Type.Is("array") {
			return true
		}
	}
	return s.Type.Is("array")
}

// methodsThatCall returns the names of the functions in a folder that call pkg.name.
func methodsThatCall(t *testing.T, folder, pkg, name string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]bool{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == name {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == pkg {
						calls[f.Name.Name] = true
					}
				}
				return true
			})
		}
	}
	return calls
}
