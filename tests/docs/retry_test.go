package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"lavka/deploy/postgres"
	"lavka/libs/domain/problem"
	"lavka/libs/service/httpproblem"
)

var (
	codeText = regexp.MustCompile("`([a-z_]+)`")
	retryRow = regexp.MustCompile("(?m)^\\| `(same_key|new_key|never)` \\| .+ \\| (`.+) \\|$")
)

// Each code that an operation with an Idempotency-Key may answer with says what becomes of the key, and docs/errors.md lists it so.
func TestEveryCodeSaysHowToRetryWithAKey(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "docs/errors.md"))
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]bool{}
	for _, section := range codesInDocs(string(text)) {
		for a := range section {
			codes[a.code] = true
		}
	}
	documented := map[string]problem.Retry{}
	for _, row := range retryRow.FindAllStringSubmatch(string(text), -1) {
		for _, code := range codeText.FindAllStringSubmatch(row[2], -1) {
			documented[code[1]] = problem.Retry(row[1])
		}
	}
	known := problem.Retries()
	operations := 0
	for _, service := range postgres.Services() {
		contract, err := openapi3.NewLoader().LoadFromFile(filepath.Join(root, "services", service, "api/openapi.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for path, item := range contract.Paths.Map() {
			for method, op := range item.Operations() {
				takes := op.Parameters.GetByInAndName("header", "Idempotency-Key") != nil
				if got := httpproblem.TakesKey(method, strings.NewReplacer("{", "", "}", "").Replace(path)); got != takes {
					t.Errorf("%s %s: httpproblem.TakesKey is %v, the contract says %v", method, path, got, takes)
				}
				if !takes {
					continue
				}
				operations++
				for status, response := range op.Responses.Map() {
					if response.Value.Content["application/problem+json"] == nil {
						continue
					}
					for _, code := range codeText.FindAllStringSubmatch(*response.Value.Description, -1) {
						if !codes[code[1]] {
							continue // a member, such as purchase_id
						}
						if known[code[1]] == "" {
							t.Errorf("%s %s answers %s `%s`: say in libs/domain/problem/retry.go what becomes of its key", method, path, status, code[1])
						}
						if documented[code[1]] != known[code[1]] {
							t.Errorf("docs/errors.md lists `%s` under the retry %q, and it is %q", code[1], documented[code[1]], known[code[1]])
						}
					}
				}
			}
		}
	}
	if operations < 4 {
		t.Errorf("%d operations take a key: has the header another name?", operations)
	}
	for code, retry := range documented {
		if known[code] != retry && !slices.Contains(conditional, code) {
			t.Errorf("docs/errors.md lists `%s` under the retry `%s`, and it is %q", code, retry, known[code])
		}
	}
}

// conditional are codes that stand under two retries.
var conditional = []string{"refund_exceeds"}
