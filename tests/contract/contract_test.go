package contract

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

const root = "../.."

// contracts returns the contracts as they are served, by service.
func contracts(t *testing.T) map[string]*openapi3.T {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "services", "*", "api", "openapi.yaml"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	all := map[string]*openapi3.T{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("x-go-")) {
			t.Errorf("%s names Go types of ours: put them into overlay.yaml", file)
		}
		if all[filepath.Base(filepath.Dir(filepath.Dir(file)))], err = openapi3.NewLoader().LoadFromData(text); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Bodies have names, requests are strict and bounded, answers are open, and each
// operation lists its errors: see ADR 57.
func TestContractsAreForGeneratorsOfClients(t *testing.T) {
	t.Parallel()
	for service, doc := range contracts(t) {
		if doc.Info.License == nil || doc.Info.Contact == nil || !strings.Contains(doc.Info.Description, "Answers are open") {
			t.Errorf("%s: the licence, the contact or the rule for answers is missing", service)
		}
		for name := range doc.Components.Responses {
			if doc.Components.Schemas[name] != nil && name != "Problem" {
				t.Errorf("%s: a response and a schema are called %s", service, name)
			}
		}
		for path, item := range doc.Paths.Map() {
			for method, op := range item.Operations() {
				for _, problem := range operation(op) {
					t.Errorf("%s: %s %s: %s", service, method, path, problem)
				}
			}
		}
		for name, schema := range doc.Components.Schemas {
			for _, example := range schema.Value.Examples {
				if err := schema.Value.VisitJSON(example); err != nil {
					t.Errorf("%s: the example of %s: %v", service, name, err)
				}
			}
		}
	}
}

// operation returns what is wrong with an operation.
func operation(op *openapi3.Operation) (wrong []string) {
	if len(op.Tags) == 0 || op.Summary == "" {
		wrong = append(wrong, "it has no tag or no summary")
	}
	if op.RequestBody != nil {
		_, raw := op.Extensions["x-lavka-raw"]
		for _, content := range op.RequestBody.Value.Content {
			if content.Schema != nil {
				wrong = append(wrong, body("the request", content.Schema, !raw)...)
			}
		}
	}
	for status, response := range op.Responses.Map() {
		for _, content := range response.Value.Content {
			wrong = append(wrong, body("the response "+status, content.Schema, false)...)
			if status[0] >= '4' && !strings.Contains(*response.Value.Description, "`") {
				wrong = append(wrong, "the response "+status+" lists no code")
			}
		}
	}
	for _, status := range []string{"400", "500", "503", "default"} {
		if op.Responses.Value(status) == nil {
			wrong = append(wrong, "it does not list "+status)
		}
	}
	return wrong
}

// body returns what is wrong with a body. A strict one forbids members that it does
// not describe; an open one does so nowhere, and closes no list of values.
func body(what string, ref *openapi3.SchemaRef, strict bool) (wrong []string) {
	if ref.Ref == "" {
		wrong = append(wrong, what+" has no name")
	}
	request := what == "the request"
	var visit func(*openapi3.SchemaRef)
	visit = func(ref *openapi3.SchemaRef) {
		if ref == nil {
			return
		}
		s := ref.Value
		closed := s.AdditionalProperties.Has != nil && !*s.AdditionalProperties.Has
		anyNames := s.AdditionalProperties.Schema
		switch {
		case s.Type.Is(openapi3.TypeObject) && closed != strict && anyNames == nil:
			wrong = append(wrong, what+" has an object whose additionalProperties are not as they should be")
		case !request && (s.Enum != nil || s.Const != nil):
			wrong = append(wrong, what+" closes a list of values: use x-extensible-enum")
		case s.Type.Is(openapi3.TypeNumber) && s.Format != "double":
			wrong = append(wrong, what+" has a number that generators read as a float32")
		case request && s.Type.Is(openapi3.TypeNumber) && (s.Min == nil || s.Max == nil):
			wrong = append(wrong, what+" has a number without bounds")
		case request && s.Type.Is(openapi3.TypeString) && s.MinLength == 0 && s.MaxLength == nil && s.Pattern == "" && s.Enum == nil:
			wrong = append(wrong, what+" has a text without bounds")
		}
		for _, p := range s.Properties {
			visit(p)
		}
		visit(s.Items)
		visit(anyNames)
	}
	visit(ref)
	return wrong
}
