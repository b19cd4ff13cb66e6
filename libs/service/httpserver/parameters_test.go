package httpserver_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"lavka/libs/service/access"
	"lavka/libs/service/httpserver"
	"lavka/libs/service/token"
)

// A query parameter that is not in the contract is refused and named, on each route,
// and so is one that is given twice.
func TestParametersMustBeInTheContract(t *testing.T) {
	t.Parallel()
	const contract = `{openapi: 3.1.0, info: {title: x, version: '1'}, paths: {
		'/things/{id}/parts': {parameters: [{name: id, in: path, required: true, schema: {type: integer}}, {name: of, in: query, schema: {type: string}}],
			get: {operationId: listParts, responses: {}, parameters: [{name: limit, in: query, schema: {type: integer}}, {name: tag, in: query, schema: {type: array, items: {type: string}}},
				{name: kind, in: query, explode: false, schema: {type: array, items: {type: string}}}, {name: If-Match, in: header, schema: {type: string}}]}},
		/things: {post: {operationId: createThing, responses: {}}},
		'/links/{token}': {get: {operationId: follow, x-lavka-any-parameters: true, responses: {}, parameters: [{name: token, in: path, required: true, schema: {type: string}}]}}}}`
	e, _, err := httpserver.NewAPI(httpserver.API{
		Service: "test", Contract: []byte(contract), Guard: access.NewGuard(nil, nil), Registry: httpserver.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ok := func(c echo.Context) error { return c.NoContent(http.StatusNoContent) }
	e.GET("/things/:id/parts", ok)
	e.POST("/things", ok)
	e.GET("/links/:token", ok)
	long := strings.Repeat("x", 5000)
	for target, want := range map[string]string{ // "" means that the request is served
		"GET /things/7/parts":                             "",
		"GET /things/7/parts?":                            "",
		"GET /things/7/parts?&":                           "",
		"GET /things/7/parts?limit=1&of=a&tag=b&kind=c":   "",
		"GET /things/7/parts?tag=a&tag=b":                 "",
		"GET /things/7/parts?kind=a,b":                    "",
		"GET /things/7/parts?limit":                       "",
		"GET /things/7/parts?date_from=1":                 `the parameter \"date_from\" is unknown; this route has kind, limit, of, tag`,
		"GET /things/7/parts?limit=1&z=1&a=1":             `the parameter \"a\" is unknown`,
		"GET /things/7/parts?Limit=1":                     `the parameter \"Limit\" is unknown`,
		"GET /things/7/parts?limit%20=1":                  `the parameter \"limit \" is unknown`,
		"GET /things/7/parts?id=7":                        `the parameter \"id\" is unknown`,
		"GET /things/7/parts?If-Match=7":                  `the parameter \"If-Match\" is unknown`,
		"GET /things/7/parts?=7":                          `the parameter \"\" is unknown`,
		"GET /things/7/parts?x":                           `the parameter \"x\" is unknown`,
		"GET /things/7/parts?%22%0A=1":                    `the parameter \"\\\"\\n\" is unknown`,
		"GET /things/7/parts?" + long + "=1":              `the parameter \"` + long[:64] + `…\" is unknown`,
		"GET /things/7/parts?limit=1&limit=1":             "the parameter limit must not be given more than once",
		"GET /things/7/parts?of=a&of=":                    "the parameter of must not be given more than once",
		"GET /things/7/parts?kind=a&kind=b":               "the parameter kind must not be given more than once",
		"POST /things?limit=1":                            `the parameter \"limit\" is unknown; this route has none in the query`,
		"GET /links/abc?utm_source=mail&utm_source=again": "",
		"GET /test/openapi.json":                          "",
		"GET /test/openapi.json?v=1":                      `the parameter \"v\" is unknown`,
	} {
		method, path, _ := strings.Cut(target, " ")
		w, code := do(e, method, path, "", nil)
		if served := w.Code < 300; served != (want == "") || !served && (w.Code != 400 || code != "malformed" || !strings.Contains(w.Body.String(), want)) {
			t.Errorf("%.100s: %d %s, want %q", target, w.Code, w.Body, want)
		}
	}
	// What no route serves is no question of parameters.
	for target, status := range map[string]int{"GET /nowhere?x=1": 404, "DELETE /things?x=1": 405, "GET /things/7/8/9?x=1": 404} {
		method, path, _ := strings.Cut(target, " ")
		if w, _ := do(e, method, path, "", nil); w.Code != status {
			t.Errorf("%s: %d, want %d", target, w.Code, status)
		}
	}
}

// The generated code also reads a date alone as a time, and some other forms.
func TestTimesAreExact(t *testing.T) {
	t.Parallel()
	const contract = `{openapi: 3.1.0, info: {title: x, version: '1'}, paths: {
		/things: {get: {operationId: listThings, responses: {}, security: [{peer: []}], parameters: [{name: from, in: query, schema: {type: string, format: date-time}}]}}}}`
	pass := func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			c.SetRequest(c.Request().WithContext(access.With(c.Request().Context(), token.Identity{})))
			return next(c)
		}
	}
	e, protected, err := httpserver.NewAPI(httpserver.API{
		Service: "test", Contract: []byte(contract), Guard: access.NewGuard(nil, nil), Schemes: map[string]echo.MiddlewareFunc{"peer": pass},
		Registry: httpserver.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	e.GET("/things", func(c echo.Context) error { return c.NoContent(http.StatusNoContent) }, protected["listThings"]...)
	for text, status := range map[string]int{
		"2026-11-23T21:19:35Z": 204, "2026-11-23T21:19:35.157688%2B02:00": 204,
		"2026-11-23": 400, "2026-11-23T21:19:35": 400, "2026-11-23T21:19:35,5Z": 400, "2026-11-23T1:19:35Z": 400, "2026-11-23T21:19:35%2B24:00": 400, "now": 400, "": 400,
	} {
		if w, _ := do(e, "GET", "/things?from="+text, "", nil); w.Code != status {
			t.Errorf("%s: %d %s", text, w.Code, w.Body)
		}
	}
}
