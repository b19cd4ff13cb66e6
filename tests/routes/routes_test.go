// Package routes holds the gateway's routes against the services' contracts.
package routes

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"lavka/deploy/local/gateway"
	"lavka/deploy/local/stack"
)

const routesFile = "deploy/local/gateway/routes.go"

// paths are what each service answers to clients: the paths of its contract, and the contract itself.
func paths(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, service := range stack.Services() {
		doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join("../../services", service, "api/openapi.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		all[service] = append(doc.Paths.Keys(), "/"+service+"/openapi.json")
		if len(all[service]) < 4 {
			t.Errorf("%s has the paths %v only: something is not read", service, all[service])
		}
	}
	return all
}

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// Every path of a contract reaches its service through the gateway.
func TestContractsAreReached(t *testing.T) {
	t.Parallel()
	routes := gateway.Routes()
	for service, paths := range paths(t) {
		for _, path := range paths {
			example := parameter.ReplaceAllString(path, "1")
			if got, ok := gateway.Match(routes, example, (&url.URL{Path: example}).EscapedPath()); !ok || got != service {
				t.Errorf("services/%s/api/openapi.yaml has %s, which the gateway gives to %q: add {%q, %q} to Routes in %s",
					service, path, got, service, pattern(path), routesFile)
			}
		}
	}
}

// Every route of the gateway is there for a path of its service's contract, and is no wider than that: a tree has a parameter, or several paths.
func TestRoutesAreInContracts(t *testing.T) {
	t.Parallel()
	paths := paths(t)
	for _, r := range gateway.Routes() {
		below := 0
		for _, path := range paths[r.Service] {
			if tree, ok := strings.CutSuffix(r.Path, "*"); ok && strings.HasPrefix(path, tree) {
				below++
			}
		}
		if below < 2 && !slices.ContainsFunc(paths[r.Service], func(path string) bool { return r.Path == pattern(path) }) {
			t.Errorf("the gateway sends %s to %s, and services/%s/api/openapi.yaml asks for no such route: remove it from Routes in %s, or add the path to the contract",
				r.Path, r.Service, r.Service, routesFile)
		}
	}
}

// Compose's gateway has the same routes.
func TestCaddyHasTheSameRoutes(t *testing.T) {
	t.Parallel()
	const file = "deploy/gateway/Caddyfile"
	text, err := os.ReadFile("../../" + file)
	if err != nil {
		t.Fatal(err)
	}
	var routes []gateway.Route
	for _, m := range caddyRoutes.FindAllStringSubmatch(string(text), -1) {
		if used := fmt.Sprintf("handle @%s {\n\t\timport service %[1]s\n", m[1]); !strings.Contains(string(text), used) {
			t.Errorf("%s does nothing with @%s", file, m[1])
		}
		for path := range strings.FieldsSeq(m[2]) {
			routes = append(routes, gateway.Route{Service: m[1], Path: path})
		}
	}
	same(t, file, routes)
}

var caddyRoutes = regexp.MustCompile(`(?m)^\t@(auth|catalog|billing) path (.+)$`)

// And so has Kubernetes'. A prefix /users is /users and what is below it; the service refuses what it does not have of the two.
func TestHTTPRoutesAreTheSameRoutes(t *testing.T) {
	t.Parallel()
	const file = "deploy/k8s/components/gateway/routes.yaml"
	text, err := os.ReadFile("../../" + file)
	if err != nil {
		t.Fatal(err)
	}
	var routes []gateway.Route
	for document := range strings.SplitSeq(string(text), "---\n") {
		service := backend.FindStringSubmatch(document)
		if service == nil {
			t.Fatalf("a route of %s leads nowhere:\n%s", file, document)
		}
		for _, m := range httpPath.FindAllStringSubmatch(document, -1) {
			switch route := (gateway.Route{Service: service[1], Path: m[2]}); {
			case m[1] == "Exact":
				routes = append(routes, route)
			case slices.Contains(gateway.Routes(), route):
				routes = append(routes, route, gateway.Route{Service: service[1], Path: m[2] + "/*"})
			default:
				routes = append(routes, gateway.Route{Service: service[1], Path: m[2] + "/*"})
			}
		}
	}
	same(t, file, routes)
}

var (
	backend  = regexp.MustCompile(`backendRefs: \[\{ name: (\w+), port: 8080 \}\]`)
	httpPath = regexp.MustCompile(`path: \{ type: (Exact|PathPrefix), value: (\S+) \}`)
)

// same holds a file's routes against the launcher's, which the tests above hold against the contracts.
func same(t *testing.T, file string, routes []gateway.Route) {
	t.Helper()
	for _, r := range gateway.Routes() {
		if !slices.Contains(routes, r) {
			t.Errorf("%s does not send %s to %s, as %s does: add it", file, r.Path, r.Service, routesFile)
		}
	}
	for _, r := range routes {
		if !slices.Contains(gateway.Routes(), r) {
			t.Errorf("%s sends %s to %s, as %s does not: remove it, or add it there", file, r.Path, r.Service, routesFile)
		}
	}
}

// pattern is how the gateway would write a contract's path: with a tree in place of a parameter and what follows it.
func pattern(path string) string {
	if i := strings.Index(path, "{"); i >= 0 {
		return path[:i] + "*"
	}
	return path
}

// Every request of api.http, for the HTTP clients of editors, is an operation of a contract, and has every variable that it uses.
func TestCollectionIsInContracts(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../api.http")
	if err != nil {
		t.Fatal(err)
	}
	operations := map[string]bool{}
	for _, service := range stack.Services() {
		doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join("../../services", service, "api/openapi.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for path, item := range doc.Paths.Map() {
			for method := range item.Operations() {
				operations[method+" "+parameter.ReplaceAllString(path, "1")] = true
			}
		}
		operations["GET /"+service+"/openapi.json"] = true
	}
	variables := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^@(\w+) = `).FindAllStringSubmatch(string(text), -1) {
		variables[m[1]] = true
	}
	used := regexp.MustCompile(`\{\{(\w+)\}\}`)
	for _, m := range used.FindAllStringSubmatch(string(text), -1) {
		if !variables[m[1]] {
			t.Errorf("api.http uses {{%s}}, which it does not define", m[1])
		}
	}
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([A-Z]+) \{\{gateway\}\}([^?\s]*)`).FindAllStringSubmatch(string(text), -1) {
		request := m[1] + " " + used.ReplaceAllString(m[2], "1")
		if seen[request] = true; !operations[request] {
			t.Errorf("api.http has %s, which is in no contract", request)
		}
	}
	for operation := range operations {
		if !seen[operation] {
			t.Errorf("api.http lacks %s", operation)
		}
	}
}
