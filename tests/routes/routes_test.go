// Package routes checks the gateway's routes against the services' contracts.
package routes

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"lavka/deploy/local/gateway"
	"lavka/deploy/local/stack"
)

const routesFile = "deploy/local/gateway/routes.go"

// paths returns the paths that each service serves to clients: those of its contract, and the contract itself.
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
			t.Errorf("%s has only the paths %v: some were not read", service, all[service])
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
				t.Errorf("services/%s/api/openapi.yaml has %s, which the gateway routes to %q: add {%q, %q} to Routes in %s",
					service, path, got, service, pattern(path), routesFile)
			}
		}
	}
}

// Every route of the gateway serves a path of its service's contract, and is no wider: a tree route has a parameter, or several paths.
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
			t.Errorf("the gateway sends %s to %s, and services/%s/api/openapi.yaml has no such path: remove it from Routes in %s, or add the path to the contract",
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
			t.Errorf("%s does not use @%s", file, m[1])
		}
		for path := range strings.FieldsSeq(m[2]) {
			routes = append(routes, gateway.Route{Service: m[1], Path: path})
		}
	}
	same(t, file, routes)
}

var caddyRoutes = regexp.MustCompile(`(?m)^\t@(auth|catalog|billing) path (.+)$`)

// Kubernetes' gateway has the same routes. A prefix /users covers /users and everything below it; the service answers 404 to paths it does not have.
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
			t.Fatalf("a route of %s has no backend:\n%s", file, document)
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

// same compares a file's routes with the launcher's, which the tests above check against the contracts.
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

// Each list that is also an export has no limit of its whole response, in any gateway.
func TestExportsAreUnlimited(t *testing.T) {
	t.Parallel()
	exports := map[string][]string{} // paths, by where they come from
	for _, service := range stack.Services() {
		doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join("../../services", service, "api/openapi.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for path, item := range doc.Paths.Map() {
			if item.Get != nil && item.Get.Responses.Status(200).Value.Content["text/csv"] != nil {
				exports["contracts"] = append(exports["contracts"], path)
			}
		}
	}
	exports[routesFile] = gateway.Exports()
	caddy, err := os.ReadFile("../../deploy/gateway/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	if limit := regexp.MustCompile(`(?m)^\s*write\s`).Find(caddy); limit != nil || !strings.Contains(string(caddy), "\t\t\twrite_idle ") {
		t.Error("the Caddyfile limits the whole of a response, or not its parts")
	}
	routes, err := os.ReadFile("../../deploy/k8s/components/gateway/routes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for rule := range strings.SplitSeq(string(routes), "    - matches:\n") {
		for _, m := range regexp.MustCompile(`path: \{ type: Exact, value: (\S+) \}\n          headers: \[\{ type: RegularExpression, name: Accept, value: '\(\?i\)\.\*\(text/csv\|application/x-ndjson\)\.\*' \}\]`).FindAllStringSubmatch(rule, -1) {
			if exports["HTTPRoutes"] = append(exports["HTTPRoutes"], m[1]); !strings.Contains(rule, "timeouts: { request: 0s }") {
				t.Errorf("HTTPRoutes: the export %s has a limit", m[1])
			}
		}
	}
	slices.Sort(exports["contracts"])
	for where, paths := range exports {
		slices.Sort(paths)
		if !slices.Equal(paths, exports["contracts"]) || len(paths) < 5 {
			t.Errorf("%s has the exports %v, the contracts %v", where, paths, exports["contracts"])
		}
	}
}

// A route that takes larger bodies than the others does so in every gateway, where the limit is a little above the service's.
func TestLargeBodiesAreLetThrough(t *testing.T) {
	t.Parallel()
	limits := map[string]map[string]int64{"contracts": {}, routesFile: gateway.LargeBodies(), "the Caddyfile": {}, "HTTPRoutes": {}}
	for _, service := range stack.Services() {
		doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join("../../services", service, "api/openapi.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for path, item := range doc.Paths.Map() {
			for _, op := range item.Operations() {
				if limit, ok := op.Extensions["x-lavka-max-body"].(float64); ok {
					limits["contracts"][path] = int64(limit)
				}
			}
		}
	}
	read := func(file string) string {
		text, err := os.ReadFile("../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	kibibytes := func(text string) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n << 10
	}
	caddy := regexp.MustCompile(`\t@large path (\S+)\n\trequest_body @large \{\n\t\tmax_size (\d+)KiB\n\t\}\n\t@small not path (\S+)\n\trequest_body @small \{`).FindStringSubmatch(read("deploy/gateway/Caddyfile"))
	if caddy == nil || caddy[1] != caddy[3] {
		t.Fatalf("the Caddyfile has %q", caddy)
	}
	limits["the Caddyfile"][caddy[1]] = kibibytes(caddy[2])
	route := regexp.MustCompile(`name: catalog-batch\n[^-]*-of: lavka \}\nspec:\n(?:  .*\n)*?    - matches:\n        - path: \{ type: Exact, value: (\S+) \}`).FindStringSubmatch(read("deploy/k8s/components/gateway/routes.yaml"))
	buffer := regexp.MustCompile(`kind: HTTPRoute, name: catalog-batch \}\]\n  requestBuffer: \{ limit: (\d+)Ki \}`).FindStringSubmatch(read("deploy/k8s/components/gateway/limits.yaml"))
	if route == nil || buffer == nil {
		t.Fatalf("on Kubernetes the route is %q, and its limit %q", route, buffer)
	}
	limits["HTTPRoutes"][route[1]] = kibibytes(buffer[1])
	for where, of := range limits {
		for path, limit := range of {
			own, ok := limits["contracts"][path]
			if !ok || limit < own || limit > own+64<<10 || where != "contracts" && limit == own {
				t.Errorf("%s lets bodies of %d bytes through to %s, and the service takes %d", where, limit, path, own)
			}
		}
		if len(of) != len(limits["contracts"]) || len(of) == 0 {
			t.Errorf("%s has the routes %v, the contracts %v", where, of, limits["contracts"])
		}
	}
}

// pattern returns the gateway's form of a contract's path: with * in place of the first parameter and everything after it.
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
