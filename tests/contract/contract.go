// Package contract checks the tests' requests and responses against the services'
// OpenAPI contracts.
package contract

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"lavka/libs/service/httpproblem"
)

// Checker knows the contracts of all services.
type Checker struct {
	services []service

	mu        sync.Mutex
	succeeded map[string]bool // operations with at least one 2xx response
}

type service struct {
	name   string
	doc    *openapi3.T
	router routers.Router
}

// Load reads services/*/api/openapi.yaml below root.
func Load(root string) (*Checker, error) {
	files, err := filepath.Glob(filepath.Join(root, "services", "*", "api", "openapi.yaml"))
	if err != nil {
		return nil, err
	}
	contracts := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		contracts[filepath.Base(filepath.Dir(filepath.Dir(file)))] = text
	}
	if len(contracts) == 0 {
		return nil, fmt.Errorf("there are no contracts below %s", root)
	}
	return New(contracts)
}

func init() { // exports are texts to the contracts
	openapi3filter.RegisterBodyDecoder("text/csv", openapi3filter.FileBodyDecoder)
	openapi3filter.RegisterBodyDecoder("application/x-ndjson", openapi3filter.FileBodyDecoder)
}

// New reads contracts, YAML or JSON, by the name of their service.
func New(contracts map[string][]byte) (*Checker, error) {
	c := &Checker{succeeded: map[string]bool{}}
	for name, text := range contracts {
		doc, err := openapi3.NewLoader().LoadFromData(text)
		if err != nil {
			return nil, fmt.Errorf("read the contract of %s: %w", name, err)
		}
		if err := doc.Validate(context.Background()); err != nil {
			return nil, fmt.Errorf("the contract of %s is not valid OpenAPI: %w", name, err)
		}
		closeAnswers(doc)
		router, err := gorillamux.NewRouter(doc)
		if err != nil {
			return nil, fmt.Errorf("read the routes of %s: %w", name, err)
		}
		c.services = append(c.services, service{name, doc, router})
	}
	return c, nil
}

// Operation is one line of a contract.
type Operation struct {
	Service, ID, Method, Path string
	Role                      string   // "" means any caller; "provider" has a token of another kind
	Query                     []string // the names of its query parameters
	AnyParameters             bool     // other query parameters are ignored
}

// Operations lists every operation of every service.
func (c *Checker) Operations() []Operation {
	var all []Operation
	for _, s := range c.services {
		for path, item := range s.doc.Paths.Map() {
			for method, op := range item.Operations() {
				o := Operation{Service: s.name, ID: op.OperationID, Method: method, Path: path}
				if op.Security != nil && len(*op.Security) > 0 {
					o.Role = strings.Join((*op.Security)[0]["bearer"], "+")
					if _, ok := (*op.Security)[0]["paymentToken"]; ok {
						o.Role = "provider"
					}
				}
				for _, p := range slices.Concat(item.Parameters, op.Parameters) {
					if p.Value.In == openapi3.ParameterInQuery {
						o.Query = append(o.Query, p.Value.Name)
					}
				}
				_, o.AnyParameters = op.Extensions["x-lavka-any-parameters"]
				all = append(all, o)
			}
		}
	}
	return all
}

// NeverSucceeded lists the operations for which Check has seen no 2xx response, so
// that no test has shown that they work.
func (c *Checker) NeverSucceeded() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var missing []string
	for _, o := range c.Operations() {
		if name := o.Method + " " + o.Path; !c.succeeded[name] {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}

// Check checks an exchange against the contract. A request that the contract does
// not allow must not get a 2xx; a response must be in the contract; on a route that
// is in no contract the response must be a problem.
func (c *Checker) Check(r *http.Request, sent []byte, resp *http.Response, got []byte) error {
	route, params := c.find(r)
	if route == nil {
		return checkUnknown(r, resp)
	}
	copied := r.Clone(context.Background())
	copied.Body = io.NopCloser(bytes.NewReader(sent))
	in := &openapi3filter.RequestValidationInput{
		Request: copied, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, MultiError: true, IncludeResponseStatus: true},
	}
	if resp.StatusCode < 300 {
		c.mu.Lock()
		c.succeeded[route.Method+" "+route.Path] = true
		c.mu.Unlock()
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil && !raw(route) {
			return fmt.Errorf("%s %s was answered %d, though the contract does not allow the request: %w", r.Method, r.URL.Path, resp.StatusCode, err)
		}
	}
	err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: resp.StatusCode, Header: resp.Header, Body: io.NopCloser(bytes.NewReader(got)), Options: in.Options,
	})
	if err != nil {
		return fmt.Errorf("%s %s: the response %d violates the contract: %w", r.Method, r.URL.Path, resp.StatusCode, err)
	}
	if resp.StatusCode >= 400 && resp.Header.Get("Content-Type") != httpproblem.ContentType {
		return fmt.Errorf("%s %s: the response %d is not a problem: %s", r.Method, r.URL.Path, resp.StatusCode, got)
	}
	return listed(route, resp.StatusCode, got)
}

// listed returns an error if a problem's code is not in the description of its response, in backticks.
func listed(route *routers.Route, status int, got []byte) error {
	if status < 400 {
		return nil
	}
	var problem struct{ Code string }
	if err := json.Unmarshal(got, &problem); err != nil {
		return err
	}
	response := route.Operation.Responses.Status(status)
	if response == nil {
		response = route.Operation.Responses.Default()
	}
	if response.Value.Description == nil || !strings.Contains(*response.Value.Description, "`"+problem.Code+"`") {
		return fmt.Errorf("%s %s: the contract does not list %s with %d", route.Method, route.Path, problem.Code, status)
	}
	return nil
}

// closeAnswers makes the answers of a contract as strict as the shop is at present: clients must ignore members and values that they do not know, but
// those of this release are all in the contract.
func closeAnswers(doc *openapi3.T) {
	seen := map[*openapi3.Schema]bool{}
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			for _, response := range op.Responses.Map() {
				for _, content := range response.Value.Content {
					closeSchema(content.Schema, seen)
				}
			}
		}
	}
}

func closeSchema(ref *openapi3.SchemaRef, seen map[*openapi3.Schema]bool) {
	if ref == nil || seen[ref.Value] {
		return
	}
	s := ref.Value
	seen[s] = true
	if more := s.AdditionalProperties; s.Type.Is(openapi3.TypeObject) && more.Schema == nil && (more.Has == nil || !*more.Has) { // an object that is open by name has members which no contract can list
		s.AdditionalProperties = openapi3.AdditionalProperties{Has: openapi3.Ptr(false)}
	}
	if known, ok := s.Extensions["x-extensible-enum"].([]any); ok {
		s.Enum = known
	}
	for _, p := range s.Properties {
		closeSchema(p, seen)
	}
	closeSchema(s.Items, seen)
}

func (c *Checker) find(r *http.Request) (*routers.Route, map[string]string) {
	if strings.Contains(strings.ToLower(r.URL.EscapedPath()), "%2f") {
		return nil, nil // no parameter contains a slash; the routers of the services know no such path
	}
	// The contracts name no host.
	plain := r.Clone(context.Background())
	plain.URL.Scheme, plain.URL.Host, plain.Host = "", "", ""
	for _, s := range c.services {
		if route, params, err := s.router.FindRoute(plain); err == nil {
			return route, params
		}
	}
	return nil, nil
}

func checkUnknown(r *http.Request, resp *http.Response) error {
	if strings.HasSuffix(r.URL.Path, "/openapi.json") && resp.StatusCode == http.StatusOK {
		return nil
	}
	if resp.StatusCode < 400 || resp.Header.Get("Content-Type") != httpproblem.ContentType {
		return fmt.Errorf("%s %s is in no contract and was answered %d (%s)", r.Method, r.URL.Path, resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	return nil
}

// raw reports whether a route accepts bodies that the contract does not allow: any, whatever its content type, or those of which it refuses the items
// that are not valid, in their results.
func raw(route *routers.Route) bool {
	_, raw := route.Operation.Extensions["x-lavka-raw"]
	_, items := route.Operation.Extensions["x-lavka-items-refused"]
	return raw || items
}
