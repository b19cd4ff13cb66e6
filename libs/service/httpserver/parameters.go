package httpserver

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"

	"lavka/libs/domain/problem"
)

// anyParameters is the extension of an operation whose query parameters are ignored:
// mail programs add their own to links that people follow.
const anyParameters = "x-lavka-any-parameters"

// knownParameters refuses a query parameter that the contract does not describe, and
// one that is given twice although it is not a list. Otherwise a filter that is
// misspelt, or belongs to another list, would be ignored, and the client would take a
// page of everything for the answer. It covers each operation of the contract, however
// its route is registered, and the route of the contract itself.
func knownParameters(contract *openapi3.T, own string) echo.MiddlewareFunc {
	routes := map[string]map[string]bool{http.MethodGet + " " + own: {}} // whether a parameter may be repeated, by its name
	for path, item := range contract.Paths.Map() {
		for method, op := range item.Operations() {
			if _, ok := op.Extensions[anyParameters]; !ok {
				routes[method+" "+echoPath(path)] = queryParameters(slices.Concat(item.Parameters, op.Parameters))
			}
		}
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if c.Request().URL.RawQuery == "" {
				return next(c)
			}
			if known, ok := routes[c.Request().Method+" "+c.Path()]; ok {
				if err := checkParameters(c.QueryParams(), known); err != nil {
					return err
				}
			}
			return next(c)
		}
	}
}

// echoPath returns the contract's path as the generated code registers it.
func echoPath(path string) string { return pathParameter.ReplaceAllString(path, ":$1") }

var pathParameter = regexp.MustCompile(`\{([^{}]+)\}`)

func queryParameters(all openapi3.Parameters) map[string]bool {
	known := map[string]bool{}
	for _, p := range all {
		if p.Value.In == openapi3.ParameterInQuery {
			exploded := p.Value.Explode == nil || *p.Value.Explode
			known[p.Value.Name] = exploded && p.Value.Schema.Value.Type.Is(openapi3.TypeArray)
		}
	}
	return known
}

// checkParameters names the first parameter, in alphabetical order, that is unknown,
// or else the first that is given twice.
func checkParameters(query map[string][]string, known map[string]bool) error {
	var unknown, repeated []string
	for name, values := range query {
		list, ok := known[name]
		switch {
		case !ok:
			unknown = append(unknown, name)
		case len(values) > 1 && !list:
			repeated = append(repeated, name)
		}
	}
	switch {
	case len(unknown) > 0:
		return problem.New(problem.Malformed, "malformed", fmt.Sprintf("the parameter %q is unknown; %s", short(slices.Min(unknown)), listOf(known)))
	case len(repeated) > 0:
		return problem.New(problem.Malformed, "malformed", fmt.Sprintf("the parameter %s must not be given more than once", slices.Min(repeated)))
	}
	return nil
}

// listOf tells which query parameters a route has.
func listOf(known map[string]bool) string {
	if len(known) == 0 {
		return "this route has none in the query"
	}
	return "this route has " + strings.Join(slices.Sorted(maps.Keys(known)), ", ")
}

// longestName is how much of a name from the client is shown, in characters.
const longestName = 64

func short(name string) string {
	if r := []rune(name); len(r) > longestName {
		return string(r[:longestName]) + "…"
	}
	return name
}
