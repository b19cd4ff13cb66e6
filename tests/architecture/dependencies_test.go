package architecture

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"lavka/deploy/postgres"
)

// dependencyRule forbids packages to depend on others, directly or through any
// package in between. TestImports holds direct imports, file by file; these rules
// hold what is linked in.
type dependencyRule struct {
	packages []string // patterns of go list
	not      []string // packages and what is below them
	because  string
}

var prometheus = "github.com/prometheus"

var dependencyRules = []dependencyRule{
	{append(ofServices("lavka/services/%[1]s/internal/%[1]s"), "lavka/libs/domain/..."),
		[]string{"net/http", "database/sql.", otel, prometheus, pgx, nats, echo, "lavka/libs/service", "lavka/libs/contract", "lavka/libs/host", "lavka/libs/testkit"},
		"the domain decides: it knows no protocol, database, broker or metrics library, so that it can be read and tested alone"},
	{[]string{"lavka/libs/contract/wire"},
		[]string{"net/http", "database/sql.", otel, prometheus, pgx, nats, echo, "lavka"},
		"messages are flat data: a reader of them needs no library"},
	{ofServices("lavka/services/%s"),
		[]string{"testing", "net/http/httptest", "github.com/stretchr/testify", "github.com/nats-io/nats-server", "lavka/libs/testkit", "lavka/libs/host", "lavka/deploy", "lavka/tests"},
		"a service's program holds no test code, and starts no other programs"},
	{[]string{"lavka/deploy/local"},
		[]string{"testing", "net/http/httptest", "github.com/stretchr/testify", "lavka/libs/testkit", "lavka/services", "lavka/tests"},
		"the launcher holds no test code, and runs the services' programs as they are"},
}

func ofServices(format string) (packages []string) {
	for _, service := range postgres.Services() {
		packages = append(packages, fmt.Sprintf(format, service))
	}
	return packages
}

func TestDependencies(t *testing.T) {
	t.Parallel()
	for _, r := range dependencyRules {
		for _, pattern := range r.packages {
			graph, roots := dependencies(t, pattern)
			if len(roots) == 0 {
				t.Errorf("no package matches %s; was it renamed?", pattern)
			}
			forbidden := func(pkg string) bool {
				return !slices.Contains(roots, pkg) && slices.ContainsFunc(r.not, func(name string) bool { return below(pkg, name) })
			}
			for pkg := range graph {
				if !forbidden(pkg) {
					continue
				}
				for _, root := range roots {
					chain := chain(graph, root, pkg)
					// One error for the first forbidden package of a chain is enough.
					if chain != nil && !slices.ContainsFunc(chain[:len(chain)-1], forbidden) {
						t.Errorf("%s must not depend on %s: %s\n\t%s", root, pkg, r.because, strings.Join(chain, " → "))
					}
				}
			}
		}
	}
}

// The rules must be able to fail: billing's program depends on what they forbid
// to others.
func TestTheDependencyRulesCanFail(t *testing.T) {
	t.Parallel()
	graph, _ := dependencies(t, "lavka/services/billing")
	for _, there := range []string{"net/http", otel, prometheus, pgx, nats, echo, "lavka/libs/service"} {
		found := false
		for pkg := range graph {
			found = found || below(pkg, there)
		}
		if !found {
			t.Errorf("billing's program does not depend on %s: the rules look for something that does not exist", there)
		}
	}
	if chain := chain(graph, "lavka/services/billing", "net/http"); len(chain) < 2 || chain[0] != "lavka/services/billing" {
		t.Errorf("no chain to net/http: %v", chain)
	}
}

// below reports whether a package is the one named, or below it. A name that ends
// with a dot is that package alone.
func below(pkg, name string) bool {
	if alone, ok := strings.CutSuffix(name, "."); ok {
		return pkg == alone
	}
	if strings.HasSuffix(name, "/") {
		return strings.HasPrefix(pkg, name)
	}
	return pkg == name || strings.HasPrefix(pkg, name+"/")
}

// dependencies returns the imports of every package that a pattern's packages
// depend on, and those packages themselves.
func dependencies(t *testing.T, pattern string) (imports map[string][]string, roots []string) {
	t.Helper()
	list := func(args ...string) []string {
		cmd := exec.Command("go", append([]string{"list"}, args...)...)
		cmd.Dir = root
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list %v: %v", args, err)
		}
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	imports = map[string][]string{}
	for _, line := range list("-deps", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", pattern) {
		words := strings.Fields(line)
		imports[words[0]] = words[1:]
	}
	return imports, list(pattern)
}

// chain returns a shortest path of imports, nil if there is none.
func chain(imports map[string][]string, from, to string) []string {
	before := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == to {
			var path []string
			for pkg := to; pkg != ""; pkg = before[pkg] {
				path = append(path, pkg)
			}
			slices.Reverse(path)
			return path
		}
		for _, next := range imports[queue[0]] {
			if _, seen := before[next]; !seen {
				before[next] = queue[0]
				queue = append(queue, next)
			}
		}
	}
	return nil
}
