// Package architecture holds the rules of who may import whom.
package architecture

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// rule forbids the packages whose folder matches one of in to import a path
// that begins with one of not.
type rule struct {
	in      []string // patterns of path.Match over the folder, seen from the root
	not     []string
	because string
}

var (
	echo = "github.com/labstack/echo"
	pgx  = "github.com/jackc/pgx"
	nats = "github.com/nats-io/"
	otel = "go.opentelemetry.io/"
)

var rules = []rule{
	{[]string{"services/auth/internal/auth", "services/catalog/internal/catalog", "services/billing/internal/billing"}, []string{echo, pgx, nats, otel, "database/sql", "net/http"},
		"the domain decides; how requests, rows and messages look is its adapters' business"},
	{[]string{"services/*/internal/httpapi"}, []string{pgx, nats, "database/sql"},
		"httpapi decodes, asks the domain and encodes; it reaches Postgres and NATS only through the domain's interfaces"},
	{[]string{"services/*/internal/postgres", "services/*/internal/postgres/*"}, []string{echo, nats, "net/http"},
		"nothing remote happens inside a transaction, and the store knows no client"},
	{[]string{"services/*/internal/bus"}, []string{echo, pgx, "database/sql"},
		"the bus hands messages to the domain, which knows where facts are kept"},
	{[]string{"libs/*", "libs/*/*"}, []string{"lavka/services", "lavka/deploy", "lavka/tests"},
		"libs know no service, so that each can be used by all"},
	{[]string{"services/auth", "services/auth/*", "services/auth/*/*", "services/auth/*/*/*"}, []string{"lavka/services/catalog", "lavka/services/billing", "lavka/deploy", "lavka/tests"},
		"a service knows the others by their messages only (lavka/libs/contract/wire)"},
	{[]string{"services/catalog", "services/catalog/*", "services/catalog/*/*", "services/catalog/*/*/*"}, []string{"lavka/services/auth", "lavka/services/billing", "lavka/deploy", "lavka/tests"},
		"a service knows the others by their messages only (lavka/libs/contract/wire)"},
	{[]string{"services/billing", "services/billing/*", "services/billing/*/*", "services/billing/*/*/*"}, []string{"lavka/services/auth", "lavka/services/catalog", "lavka/deploy", "lavka/tests"},
		"a service knows the others by their messages only (lavka/libs/contract/wire)"},
	{[]string{"tests", "tests/*"}, []string{"lavka/services"},
		"these tests see what a client and an operator see: binaries, ports and commands"},
	{[]string{"deploy/*", "deploy/*/*"}, []string{"lavka/services", "lavka/tests"},
		"the launcher runs the services' binaries; it is no part of them"},
	{[]string{"services/*", "services/*/*", "services/*/*/*"},
		[]string{"os/exec", "plugin", "unsafe", "regexp", "html/template", "text/template", "encoding/gob", "encoding/xml", "net/smtp", "net/http/pprof"},
		"nothing that a request says becomes a command, a pattern, a page or an object, and no profile is shown to anybody"},
}

// ours are tests' own helpers, which may use what their package must not.
func ours(file string) bool {
	return strings.HasSuffix(file, "_test.go") || strings.Contains(file, "test/")
}

func TestImports(t *testing.T) {
	t.Parallel()
	for folder, files := range goFiles(t) {
		for _, r := range rules {
			if !matches(r.in, folder) {
				continue
			}
			for file, imports := range files {
				// The wall between services, libs and tests stands for test files too.
				for _, path := range imports {
					for _, forbidden := range r.not {
						if strings.HasPrefix(path, forbidden) && (strings.HasPrefix(forbidden, "lavka/") || !ours(file)) {
							t.Errorf("%s imports %s, and must not: %s", file, path, r.because)
						}
					}
				}
			}
		}
	}
}

// Every rule must be about something: a folder that was renamed would leave
// its rule behind, true for ever.
func TestEveryRuleHasItsFolders(t *testing.T) {
	t.Parallel()
	folders := goFiles(t)
	for _, r := range rules {
		found := false
		for folder := range folders {
			found = found || matches(r.in, folder)
		}
		if !found {
			t.Errorf("no folder matches %v any more", r.in)
		}
	}
	for _, service := range []string{"auth", "catalog", "billing"} {
		for _, part := range []string{service, "postgres", "httpapi", "bus"} {
			if folder := "services/" + service + "/internal/" + part; folders[folder] == nil {
				t.Errorf("%s is not there: each service is laid out the same", folder)
			}
		}
	}
}

func TestTheRulesCanFail(t *testing.T) {
	t.Parallel()
	if !matches(rules[0].in, "services/billing/internal/billing") || matches(rules[0].in, "services/billing/internal/postgres") {
		t.Error("the domain's rule does not match the domain alone")
	}
}

func matches(patterns []string, folder string) bool {
	for _, p := range patterns {
		if ok, err := filepath.Match(p, folder); ok && err == nil {
			return true
		}
	}
	return false
}

// goFiles gives the imports of every Go file, by folder and file.
func goFiles(t *testing.T) map[string]map[string][]string {
	t.Helper()
	all := map[string]map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		file, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		folder := filepath.Dir(file)
		if all[folder] == nil {
			all[folder] = map[string][]string{}
		}
		for _, i := range parsed.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			all[folder][file] = append(all[folder][file], name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
