// Package architecture tests which packages may import which: TestImports checks
// the imports of each file, TestDependencies what they add up to.
package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lavka/deploy/postgres"
)

const root = "../.."

// rule forbids packages, given by patterns of their folders, to import paths with
// certain prefixes.
type rule struct {
	in      []string // patterns of path.Match, relative to the root
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
		"the domain decides; its adapters know what requests, rows and messages look like"},
	{[]string{"services/*/internal/httpapi"}, []string{pgx, nats, "database/sql"},
		"httpapi decodes, calls the domain and encodes; it reaches Postgres and NATS only through the domain's interfaces"},
	{[]string{"services/*/internal/postgres", "services/*/internal/postgres/*"}, []string{echo, nats, "net/http"},
		"a transaction makes no remote calls, and the store does not know about clients"},
	{[]string{"services/*/internal/bus"}, []string{echo, pgx, "database/sql"},
		"the bus passes messages to the domain, which stores them through its own interfaces"},
	{[]string{"services/*/internal/hook"}, []string{echo, pgx, nats, "database/sql"},
		"the hook sends what the domain gives it to a receiver outside of the shop"},
	{[]string{"libs/*", "libs/*/*"}, []string{"lavka/services", "lavka/deploy", "lavka/tests"},
		"libs know no service, so that every service can use them"},
	{[]string{"services/auth", "services/auth/*", "services/auth/*/*", "services/auth/*/*/*"}, []string{"lavka/services/catalog", "lavka/services/billing", "lavka/deploy", "lavka/tests"},
		"a service knows the others only by their messages (lavka/libs/contract/wire)"},
	{[]string{"services/catalog", "services/catalog/*", "services/catalog/*/*", "services/catalog/*/*/*"}, []string{"lavka/services/auth", "lavka/services/billing", "lavka/deploy", "lavka/tests"},
		"a service knows the others only by their messages (lavka/libs/contract/wire)"},
	{[]string{"services/billing", "services/billing/*", "services/billing/*/*", "services/billing/*/*/*"}, []string{"lavka/services/auth", "lavka/services/catalog", "lavka/deploy", "lavka/tests"},
		"a service knows the others only by their messages (lavka/libs/contract/wire)"},
	{[]string{"tests", "tests/*"}, []string{"lavka/services"},
		"these tests see what clients and operators see: binaries, ports and commands"},
	{[]string{"deploy/*", "deploy/*/*"}, []string{"lavka/services", "lavka/tests"},
		"the launcher runs the services' binaries; it does not contain them"},
	{[]string{"services/*", "services/*/*", "services/*/*/*"},
		[]string{"os/exec", "plugin", "unsafe", "regexp", "html/template", "text/template", "encoding/gob", "encoding/xml", "net/smtp", "net/http/pprof"},
		"no part of a request becomes a command, a pattern, a page or an object, and profiles are not exposed"},
}

// ours reports whether a file is test code, which may import more than its package.
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
				// The boundaries between services, libs and tests hold for test files too.
				for _, path := range imports {
					for _, forbidden := range r.not {
						if strings.HasPrefix(path, forbidden) && (strings.HasPrefix(forbidden, "lavka/") || !ours(file)) {
							t.Errorf("%s must not import %s: %s", file, path, r.because)
						}
					}
				}
			}
		}
	}
}

// Every rule must match a folder: after a rename, a rule that matches nothing
// would always pass.
func TestEveryRuleHasItsFolders(t *testing.T) {
	t.Parallel()
	folders := goFiles(t)
	for _, r := range rules {
		found := false
		for folder := range folders {
			found = found || matches(r.in, folder)
		}
		if !found {
			t.Errorf("no folder matches %v; was it renamed?", r.in)
		}
	}
}

// A stranger who knows one service knows the others.
func TestServicesAreLaidOutAlike(t *testing.T) {
	t.Parallel()
	folders := goFiles(t)
	for _, service := range postgres.Services() {
		for file, imports := range map[string]string{
			"main.go":                       "lavka/libs/service/program",
			"run.go":                        "lavka/libs/service/workers",
			"config.go":                     "lavka/libs/service/config",
			"api/api.gen.go":                "",
			"internal/" + service:           "",
			"internal/httpapi/handlers.go":  "lavka/services/" + service + "/api",
			"internal/postgres/store.go":    "lavka/libs/service/pg",
			"internal/bus":                  "",
			"internal/postgres/migrations/": "",
		} {
			path := filepath.Join("services", service, file)
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s is missing: all services have the same layout", path)
			}
			if imports != "" && !slices.Contains(folders[filepath.Dir(path)][path], imports) {
				t.Errorf("%s does not import %s, as its counterparts do", path, imports)
			}
		}
	}
}

// There is one list of services: the folders in services/. Go programs use
// postgres.Services, which must equal it.
func TestTheListOfServicesIsComplete(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(filepath.Join(root, "services"))
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, e := range entries {
		folders = append(folders, e.Name())
	}
	listed := postgres.Services()
	slices.Sort(listed)
	if !slices.Equal(folders, listed) {
		t.Errorf("services/ holds %v, deploy/postgres lists %v", folders, listed)
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

// goFiles returns the imports of every Go file, by folder and file.
func goFiles(t *testing.T) map[string]map[string][]string {
	t.Helper()
	all := map[string]map[string][]string{}
	eachGoFile(t, parser.ImportsOnly, func(file string, _ *token.FileSet, parsed *ast.File) {
		folder := filepath.Dir(file)
		if all[folder] == nil {
			all[folder] = map[string][]string{}
		}
		for _, i := range parsed.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			all[folder][file] = append(all[folder][file], name)
		}
	})
	return all
}
