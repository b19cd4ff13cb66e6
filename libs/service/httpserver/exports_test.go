package httpserver_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"lavka/libs/service/access"
	"lavka/libs/service/export"
	"lavka/libs/service/httpserver"
)

// Only an export has no limit of the whole request: a list that the contract has in such
// a format, if the client prefers that.
func TestExportsHaveNoDeadline(t *testing.T) {
	t.Parallel()
	const contract = `{openapi: 3.1.0, info: {title: x, version: '1'}, paths: {
		'/things/{kind}': {get: {operationId: listThings, responses: {'200': {description: x, content: {application/json: {}, text/csv: {}}}}, parameters: [{name: kind, in: path, required: true, schema: {type: string}}]},
			post: {operationId: createThing, responses: {'200': {description: x, content: {text/csv: {}}}}, parameters: [{name: kind, in: path, required: true, schema: {type: string}}]}},
		/others: {get: {operationId: listOthers, responses: {'200': {description: x, content: {application/json: {}}}}}}}}`
	e, _, err := httpserver.NewAPI(httpserver.API{
		Service: "test", Contract: []byte(contract), Guard: access.NewGuard(nil, nil), Registry: httpserver.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	var limited, asked bool
	see := func(c echo.Context) error {
		deadline, ok := c.Request().Context().Deadline()
		limited, asked = ok && time.Until(deadline) < time.Minute, export.Asked(c.Request().Context())
		return c.NoContent(http.StatusNoContent)
	}
	e.GET("/things/:kind", see)
	e.POST("/things/:kind", see)
	e.GET("/others", see)
	for _, c := range []struct {
		method, target, accept string
		export                 bool
	}{
		{"GET", "/things/x", "text/csv", true}, {"GET", "/things/x", "application/x-ndjson, */*;q=0.5", true}, {"GET", "/things/x", "", false}, {"GET", "/things/x", "*/*", false},
		{"GET", "/things/x", "text/csv;q=0.5, */*", false}, {"POST", "/things/x", "text/csv", false}, {"GET", "/others", "text/csv", false},
	} {
		r := httptest.NewRequest(c.method, c.target, nil)
		r.Header.Set("Accept", c.accept)
		limited, asked = false, false
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		if w.Code != http.StatusNoContent || limited == c.export || asked != c.export {
			t.Errorf("%s %s, Accept: %s: %d, limited %v, an export %v", c.method, c.target, c.accept, w.Code, limited, asked)
		}
	}
}
