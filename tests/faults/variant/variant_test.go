package variant

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"os"
	"testing"
)

const root = "../../.."

// Every edit must still apply to the sources, and leave Go that parses. A line
// that was reworded fails here within a second, and not after minutes of faults.
func TestVariantsApply(t *testing.T) {
	t.Parallel()
	clock, err := WithClock()
	if err != nil {
		t.Fatal(err)
	}
	variants := []Variant{WithPoints(), clock}
	for _, m := range Mutants() {
		variants = append(variants, m.Variant)
	}
	for _, v := range variants {
		overlay, err := lay(root, t.TempDir(), v)
		if err != nil {
			t.Errorf("variant %s: %v", v.Name, err)
			continue
		}
		raw, err := os.ReadFile(overlay)
		if err != nil {
			t.Fatal(err)
		}
		var laid struct{ Replace map[string]string }
		if err := json.Unmarshal(raw, &laid); err != nil {
			t.Fatal(err)
		}
		if len(laid.Replace) == 0 {
			t.Errorf("variant %s changes nothing", v.Name)
		}
		for file, with := range laid.Replace {
			if _, err := parser.ParseFile(token.NewFileSet(), with, nil, parser.SkipObjectResolution); err != nil {
				t.Errorf("variant %s: %s does not parse: %v", v.Name, file, err)
			}
		}
	}
}

func TestAnEditThatDoesNotApplyFails(t *testing.T) {
	t.Parallel()
	// Missing, in the file more than once, and in another block than the text's indentation says.
	for _, old := range []string{"no such" + " text", "import", "\tt.Errorf(\"an edit of %q is applied\", old)"} {
		v := Variant{Name: "stale", Edits: []Edit{{File: "tests/faults/variant/variant_test.go", Old: old, New: ""}}}
		if _, err := lay(root, t.TempDir(), v); err == nil {
			t.Errorf("an edit of %q is applied", old)
		}
	}
}
