package strangers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/jsonschema-go/jsonschema"

	"lavka/libs/service/standardwebhooks"
)

// judge validates requests and answers against a served contract. It shares no code
// with kin-openapi, which is the other validator: it reads the contract as plain JSON
// and leaves schemas to github.com/google/jsonschema-go. See ADR 58.
type judge struct {
	components map[string]any
	operations []*operation
	requests   *schemas // as they are served
	answers    *schemas // closed: what this release answers is in its contract
}

// operation is an operation of a contract.
type operation struct {
	service, method, path string
	id, role              string // role is "" if any caller may use it
	pattern               *regexp.Regexp
	names                 []string // of the path's parameters
	params                []parameter
	body                  any  // the schema of application/json; nil if there is no body
	raw                   bool // any body and content type is read
	anyQuery              bool // unknown query parameters are ignored
	responses             map[string]any
}

type parameter struct {
	name, in string
	required bool
	schema   map[string]any
}

type object = map[string]any

func newJudge(service string, text []byte) (*judge, error) {
	var doc object
	if err := decode(text, &doc); err != nil {
		return nil, err
	}
	j := &judge{components: doc["components"].(object)}
	served := local(j.components["schemas"])
	j.requests = &schemas{served.(object), map[string]*jsonschema.Resolved{}}
	j.answers = &schemas{closed(served).(object), map[string]*jsonschema.Resolved{}}
	for path, item := range doc["paths"].(object) {
		shared, _ := item.(object)["parameters"].([]any)
		for method, v := range item.(object) {
			if method == "parameters" {
				continue
			}
			op := v.(object)
			o := &operation{service: service, method: strings.ToUpper(method), path: path, id: op["operationId"].(string), responses: op["responses"].(object)}
			if security, ok := op["security"].([]any); ok {
				o.role = "provider"
				if scopes, ok := security[0].(object)["bearer"].([]any); ok {
					o.role = scopes[0].(string)
				}
			}
			_, o.raw = op["x-lavka-raw"]
			if _, ok := op["x-lavka-items-refused"]; ok { // the items that the contract forbids are refused in their results
				o.raw = true
			}
			_, o.anyQuery = op["x-lavka-any-parameters"]
			own, _ := op["parameters"].([]any)
			for _, p := range slices.Concat(shared, own) {
				p := j.follow(p)
				required, _ := p["required"].(bool)
				o.params = append(o.params, parameter{p["name"].(string), p["in"].(string), required, local(p["schema"]).(object)})
			}
			if body, ok := op["requestBody"].(object); ok {
				o.body = local(body["content"].(object)["application/json"].(object)["schema"])
			}
			o.pattern, o.names = pathPattern(path)
			j.operations = append(j.operations, o)
		}
	}
	// A path without parameters goes before one with them.
	slices.SortFunc(j.operations, func(a, b *operation) int {
		if n := len(a.names) - len(b.names); n != 0 {
			return n
		}
		return strings.Compare(a.path+a.method, b.path+b.method)
	})
	return j, nil
}

var braces = regexp.MustCompile(`\\\{([^{}]+)\\\}`)

func pathPattern(path string) (*regexp.Regexp, []string) {
	quoted := regexp.QuoteMeta(path)
	var names []string
	for _, m := range braces.FindAllStringSubmatch(quoted, -1) {
		names = append(names, m[1])
	}
	return regexp.MustCompile("^" + braces.ReplaceAllString(quoted, "([^/]+)") + "$"), names
}

// decode reads one JSON value and keeps numbers as they are written.
func decode(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is data after the JSON value")
	}
	return nil
}

// follow returns a component, or the object itself if it is not a reference.
func (j *judge) follow(v any) object {
	o := v.(object)
	if ref, ok := o["$ref"].(string); ok {
		var at any = j.components
		for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/components/"), "/") {
			at = at.(object)[name]
		}
		return j.follow(at)
	}
	return o
}

var (
	uuidForm  = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	moneyForm = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]{1,2})?$`)
)

// find returns the operation that a request means, and its path parameters, still
// escaped; nil if the contract has none.
func (j *judge) find(method, escapedPath string) (*operation, map[string]string) {
	for _, o := range j.operations {
		m := o.pattern.FindStringSubmatch(escapedPath)
		if m == nil || strings.Contains(strings.ToLower(escapedPath), "%2f") {
			continue
		}
		if o.method != method {
			continue
		}
		params := map[string]string{}
		for i, name := range o.names {
			params[name] = m[i+1]
		}
		return o, params
	}
	return nil, nil
}

// request returns what the contract forbids about a request, or nil.
func (j *judge) request(o *operation, path map[string]string, r *http.Request, sent []byte) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, p := range o.params {
		var values []string
		switch p.in {
		case "path":
			v, err := url.PathUnescape(path[p.name])
			if err != nil {
				return err
			}
			values = []string{v}
		case "query":
			known[p.name] = true
			values = query[p.name]
		case "header":
			for _, v := range r.Header.Values(p.name) {
				values = append(values, strings.Trim(v, " \t")) // which are not part of it (RFC 9110, section 5.5)
			}
		}
		if list := strings.HasPrefix(p.name, "If-") || p.name == "Prefer"; p.in == "header" && len(values) > 1 && list { // several lines of a list are one (RFC 9110, section 5.3)
			values = []string{strings.Join(values, ", ")}
		}
		switch {
		case len(values) > 1:
			return fmt.Errorf("%s is given %d times", p.name, len(values))
		case len(values) == 0 && p.required:
			return fmt.Errorf("%s is missing", p.name)
		case len(values) == 1:
			if err := j.requests.valid(p.schema, typed(j.requests.of(p.schema), values[0])); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	for name := range query {
		if !known[name] && !o.anyQuery {
			return fmt.Errorf("there is no parameter %q", name)
		}
	}
	if o.body == nil || o.raw {
		return nil
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" || len(r.Header.Values("Content-Type")) > 1 {
		return fmt.Errorf("the content type %q", r.Header.Values("Content-Type"))
	}
	if c := params["charset"]; c != "" && !strings.EqualFold(c, "utf-8") {
		return fmt.Errorf("the charset %s", c)
	}
	if r.Header.Get("Content-Encoding") != "" {
		return errors.New("a content coding")
	}
	var body any
	if err := decode(sent, &body); err != nil {
		return err
	}
	return j.requests.valid(o.body, body)
}

// prose returns what docs/errors.md forbids about a request that its schemas allow, or
// nil. JSON Schema has no words for it.
func prose(r *http.Request, sent []byte) error {
	query, err := url.QueryUnescape(r.URL.RawQuery)
	switch {
	case err != nil:
		return err
	case strings.ContainsRune(query+r.URL.Path, 0) || !utf8.ValidString(query+r.URL.Path):
		return errors.New("U+0000, or no valid UTF-8, in the URL")
	case !utf8.Valid(sent):
		return errors.New("a body that is not valid UTF-8")
	case bytes.Contains(sent, []byte(`\u0000`)):
		return errors.New("U+0000 in the body")
	case bytes.Contains(sent, []byte(`\ud800`)):
		return errors.New("half of a surrogate pair in the body")
	case r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/payment/") && !standardwebhooks.Signed(r.Header) && !bytes.Contains(sent, []byte(`"signature"`)):
		return errors.New("a payment without a signature")
	case len(sent) > 64<<10:
		return errors.New("more than 64 KiB")
	}
	names := map[string]bool{}
	for d := jsontext.NewDecoder(bytes.NewReader(sent), jsontext.AllowDuplicateNames(true)); ; {
		token, err := d.ReadToken()
		if err != nil {
			return nil // the end of a valid body
		}
		if token.Kind() == jsontext.KindNull {
			return errors.New("null")
		}
		name := string(d.StackPointer())
		if kind, n := d.StackIndex(d.StackDepth()); kind == jsontext.KindBeginObject && n%2 == 1 && token.Kind() == jsontext.KindString {
			if names[name] {
				return fmt.Errorf("%s twice", name)
			}
			names[name] = true
		}
		if number := token.String(); token.Kind() == jsontext.KindNumber && strings.HasSuffix(name, "_id") && strings.ContainsAny(number, ".eE") {
			return fmt.Errorf("the integer %s with a decimal point or an exponent", number)
		}
	}
}

// typed reads a parameter as its schema's type, where it has that form.
func typed(schema object, text string) any {
	if schema["type"] == "integer" && regexp.MustCompile(`^[+-]?[0-9]+$`).MatchString(text) {
		return json.Number(strings.TrimPrefix(text, "+"))
	}
	return text
}

// answer returns what the contract does not allow about an answer, or nil.
func (j *judge) answer(o *operation, resp *http.Response, got []byte) error {
	status := strconv.Itoa(resp.StatusCode)
	declared, ok := o.responses[status]
	if !ok {
		declared = o.responses["default"]
		own := resp.StatusCode == http.StatusMethodNotAllowed || resp.StatusCode == http.StatusRequestEntityTooLarge || resp.StatusCode == http.StatusBadGateway
		if !own || declared == nil {
			return fmt.Errorf("the status %s is not declared", status)
		}
	}
	response := j.follow(declared)
	headers, _ := response["headers"].(object)
	for name, h := range headers {
		h := j.follow(h)
		values := resp.Header.Values(name)
		required, _ := h["required"].(bool)
		switch {
		case len(values) == 0 && !required:
		case len(values) != 1:
			return fmt.Errorf("the header %s is there %d times", name, len(values))
		default:
			schema := local(h["schema"]).(object)
			if err := j.answers.valid(schema, typed(j.answers.of(schema), values[0])); err != nil {
				return fmt.Errorf("the header %s: %w", name, err)
			}
		}
	}
	content, _ := response["content"].(object)
	if len(content) == 0 {
		if len(got) > 0 || resp.Header.Get("Content-Type") != "" {
			return fmt.Errorf("a body, which is not declared: %s %.200q", resp.Header.Get("Content-Type"), got)
		}
		return nil
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || len(resp.Header.Values("Content-Type")) != 1 || content[media] == nil {
		return fmt.Errorf("the content type %q is not one of %v", resp.Header.Values("Content-Type"), slices.Sorted(maps.Keys(content)))
	}
	var body any
	if err := decode(got, &body); err != nil {
		return fmt.Errorf("the body: %w", err)
	}
	schema := local(content[media].(object)["schema"])
	if err := j.answers.valid(schema, body); err != nil {
		return fmt.Errorf("the body: %w", err)
	}
	if err := j.answers.exact(schema, body); err != nil {
		return fmt.Errorf("the body: %w", err)
	}
	if resp.StatusCode < 400 {
		return nil
	}
	problem := body.(object)
	if problem["status"] != json.Number(status) {
		return fmt.Errorf("the problem has the status %v", problem["status"])
	}
	if description, _ := response["description"].(string); !strings.Contains(description, fmt.Sprintf("`%v`", problem["code"])) {
		return fmt.Errorf("the code %v is not listed with %s", problem["code"], status)
	}
	return nil
}
