package httpserver

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/problem"
	"lavka/libs/service/access"
	"lavka/libs/service/bytelimit"
	"lavka/libs/service/export"
)

// API is the public side of a service.
type API struct {
	Service        string                         // its name
	Contract       []byte                         // OpenAPI, YAML
	Guard          *access.Guard                  // checks tokens
	Open           []string                       // the ids of operations that need no token, whatever the contract has
	Schemes        map[string]echo.MiddlewareFunc // checks those of security schemes other than bearer
	TrustedProxies []netip.Prefix                 // whose X-Forwarded-For and traceparent count
	Registry       prometheus.Registerer
	Log            *slog.Logger
}

// NewAPI returns an echo (see [New]) that serves the contract at
// /<service>/openapi.json and refuses query parameters that are not in it (see
// [knownParameters]), and the middleware of the operations that need a
// token, by operation id (see [access.Guard.Protect]). It fails if the contract
// can't be read or names an unknown role or security scheme.
func NewAPI(a API) (e *echo.Echo, protected map[string][]echo.MiddlewareFunc, err error) {
	contract, err := openapi3.NewLoader().LoadFromData(a.Contract)
	if err != nil {
		return nil, nil, fmt.Errorf("read contract: %w", err)
	}
	text, err := contract.MarshalJSON()
	if err != nil {
		return nil, nil, fmt.Errorf("write contract: %w", err)
	}
	protected, err = a.Guard.Protect(contract, a.Open...)
	if err != nil {
		return nil, nil, err
	}
	if err := protectWith(contract, a.Schemes, protected); err != nil {
		return nil, nil, err
	}
	exactUUIDs(contract, protected)
	exactTimes(contract, protected)
	responses := bytelimit.New(maxResponses)
	measureHeld(a.Registry, "responses", responses)
	claimReads(contract, protected, responses)
	bodies, err := maxBodiesOf(contract)
	if err != nil {
		return nil, nil, err
	}
	e = withLimits(a.Log, a.TrustedProxies, a.Registry, exports(contract), bodies)
	own := "/" + a.Service + "/openapi.json"
	e.Use(knownParameters(contract, own))
	e.GET(own, func(c echo.Context) error { return c.JSONBlob(http.StatusOK, text) })
	return e, protected, nil
}

// protectWith adds the middleware of the operations whose security scheme is not bearer.
func protectWith(contract *openapi3.T, schemes map[string]echo.MiddlewareFunc, protected map[string][]echo.MiddlewareFunc) error {
	for path, item := range contract.Paths.Map() {
		for method, op := range item.Operations() {
			if op.Security == nil || len(*op.Security) == 0 || protected[op.OperationID] != nil {
				continue
			}
			for name := range (*op.Security)[0] {
				check, ok := schemes[name]
				if !ok {
					return fmt.Errorf("contract: %s %s: the security scheme %s is unknown", method, path, name)
				}
				protected[op.OperationID] = append(protected[op.OperationID], check)
			}
			if protected[op.OperationID] == nil {
				return fmt.Errorf("contract: %s %s has an empty security requirement", method, path)
			}
		}
	}
	return nil
}

// exports returns the operations of a contract whose list is also an export, by method
// and echo's path.
func exports(contract *openapi3.T) map[string]bool {
	all := map[string]bool{}
	for path, item := range contract.Paths.Map() {
		if op := item.Get; op != nil {
			if ok := op.Responses.Status(http.StatusOK); ok != nil && ok.Value.Content[export.CSV] != nil {
				all[http.MethodGet+" "+echoPath(path)] = true
			}
		}
	}
	return all
}

// maxBody is the extension of an operation whose bodies may be larger than [MaxBody]: the
// maximum, in bytes.
const maxBody = "x-lavka-max-body"

// maxBodiesOf returns the limits of the operations that have one of their own, by method
// and echo's path.
func maxBodiesOf(contract *openapi3.T) (map[string]int64, error) {
	limits := map[string]int64{}
	for path, item := range contract.Paths.Map() {
		for method, op := range item.Operations() {
			value, ok := op.Extensions[maxBody]
			if !ok {
				continue
			}
			limit, ok := value.(float64)
			if !ok || limit < MaxBody || limit > maxBodies/8 {
				return nil, fmt.Errorf("contract: %s %s: %s must be a number of bytes from %d to %d", method, path, maxBody, MaxBody, maxBodies/8)
			}
			limits[method+" "+echoPath(path)] = int64(limit)
		}
	}
	return limits, nil
}

// exactUUIDs refuses a UUID in a path that is not written as the contract says (RFC
// 9562, section 4). The generated code also reads three other forms of it, such as one
// without hyphens, and a client would then find one object under several paths.
func exactUUIDs(contract *openapi3.T, protected map[string][]echo.MiddlewareFunc) {
	for _, item := range contract.Paths.Map() {
		for _, op := range item.Operations() {
			for _, p := range slices.Concat(item.Parameters, op.Parameters) {
				if p.Value.In == openapi3.ParameterInPath && p.Value.Schema.Value.Format == "uuid" {
					protected[op.OperationID] = append(protected[op.OperationID], exactUUID(p.Value.Name))
				}
			}
		}
	}
}

// exactTimes refuses a time in a query that is not written as the contract says (RFC 3339,
// section 5.6). The generated code also reads a date alone, which has no time zone, and
// times with one digit for the hour or with a comma, and takes an empty one for none.
func exactTimes(contract *openapi3.T, protected map[string][]echo.MiddlewareFunc) {
	for _, item := range contract.Paths.Map() {
		for _, op := range item.Operations() {
			for _, p := range slices.Concat(item.Parameters, op.Parameters) {
				if p.Value.In == openapi3.ParameterInQuery && p.Value.Schema.Value.Format == "date-time" {
					protected[op.OperationID] = append(protected[op.OperationID], exactTime(p.Value.Name))
				}
			}
		}
	}
}

var timeForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

func exactTime(name string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			text := c.QueryParam(name)
			if _, err := time.Parse(time.RFC3339, text); c.QueryParams().Has(name) && (err != nil || !timeForm.MatchString(text)) {
				return problem.New(problem.Malformed, "malformed", "the parameter "+name+" is malformed; it must be a time like 2026-11-23T21:19:35Z")
			}
			return next(c)
		}
	}
}

func exactUUID(name string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if len(c.Param(name)) != len("00000000-0000-0000-0000-000000000000") { // the generated code checks the rest
				return problem.New(problem.Malformed, "malformed", "the parameter "+name+" is malformed")
			}
			return next(c)
		}
	}
}
