package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	quoted   = regexp.MustCompile("`([^`]+)`")
	testName = regexp.MustCompile(`^(Test|Fuzz)[A-Z]\w*$`)
)

// Every test that docs/security.md gives as proof must exist, in the file named
// before it.
func TestTheTestsOfTheSecurityTableExist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	proofs, stray := namedTests(string(text))
	for _, name := range stray {
		t.Errorf("docs/security.md names %s, which is a test without a file or a file without a test", name)
	}
	found := 0
	for file, names := range proofs {
		source, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Errorf("docs/security.md: %v", err)
			continue
		}
		for _, name := range names {
			found++
			if !strings.Contains(string(source), "\nfunc "+name+"(") {
				t.Errorf("docs/security.md names %s, which is not in %s", name, file)
			}
		}
	}
	if found < 50 {
		t.Errorf("found only %d tests: the patterns miss some", found)
	}
}

// namedTests returns the tests named for each file. A line names a file and then
// its tests; a file without a test, or a test without a file, is stray.
func namedTests(text string) (proofs map[string][]string, stray []string) {
	proofs = map[string][]string{}
	for line := range strings.Lines(text) {
		file, waiting := "", false
		for _, m := range quoted.FindAllStringSubmatch(line, -1) {
			switch name := m[1]; {
			case strings.HasSuffix(name, "_test.go"):
				if waiting {
					stray = append(stray, file)
				}
				file, waiting = name, true
			case testName.MatchString(name) && file == "":
				stray = append(stray, name)
			case testName.MatchString(name):
				proofs[file], waiting = append(proofs[file], name), false
			}
		}
		if waiting {
			stray = append(stray, file)
		}
	}
	return proofs, stray
}

func TestNamedTestsAreFound(t *testing.T) {
	t.Parallel()
	proofs, stray := namedTests("| x | `a_test.go` `TestA`, `TestB`; `b_test.go` `FuzzC` |\n`TestD`\n`c_test.go` `d_test.go` `TestE`, `f_test.go`\n")
	if len(proofs) != 3 || strings.Join(proofs["a_test.go"], " ") != "TestA TestB" || proofs["b_test.go"][0] != "FuzzC" || proofs["d_test.go"][0] != "TestE" {
		t.Errorf("found %v", proofs)
	}
	if strings.Join(stray, " ") != "TestD c_test.go f_test.go" {
		t.Errorf("stray are %v", stray)
	}
}
