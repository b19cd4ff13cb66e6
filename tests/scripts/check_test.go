package scripts

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// workspace returns a repository with modules of a few packages, in which go test is replaced and everything else of go is real.
func workspace(t *testing.T) (dir string) {
	t.Helper()
	dir = checkout(t)
	real, code := run(t, dir, nil, "sh", "-c", "command -v go")
	if code != 0 {
		t.Fatal("there is no go")
	}
	write(t, filepath.Join(dir, "path/go"), "#!/bin/sh\n[ \"$1\" != test ] && [ \"$1\" != vet ] || { echo go \"$@\"; exit; }\n[ \"$*\" != 'env CC' ] || { echo sh; exit; }\n[ \"$1\" != install ] || exit 0\nexec "+strings.TrimSpace(real)+" \"$@\"\n")
	for _, tool := range []string{"staticcheck", "misspell"} {
		write(t, filepath.Join(dir, "bin", tool), "#!/bin/sh\necho "+tool+" \"$@\"\n")
	}
	write(t, filepath.Join(dir, ".gitignore"), "/bin/\n/path/\n")
	work := "go 1.26.0\n\nuse (\n"
	for _, m := range modules {
		work += "\t./" + m + "\n"
		write(t, filepath.Join(dir, m, "go.mod"), "module lavka/"+m+"\n\ngo 1.26.0\n")
	}
	write(t, filepath.Join(dir, "go.work"), work+")\n")
	for file, text := range map[string]string{
		"tools/go.mod":                     "module lavka/tools\n",
		"README.md":                        "# Lavka\n",
		"libs/money/money.go":              "package money\n",
		"libs/money/testdata/a.json":       "{}\n",
		"libs/wait/wait.go":                "package wait\n",
		"libs/alone/alone.go":              "package alone\n",
		"services/auth/main.go":            "package main\n\nimport _ \"lavka/services/auth/internal/auth\"\n\nfunc main() {}\n",
		"services/auth/internal/auth/a.go": "package auth\n\nimport _ \"lavka/libs/money\"\n",
		"services/catalog/a_test.go":       "package catalog\n\nimport _ \"lavka/libs/wait\"\n",
		"services/catalog/a.go":            "package catalog\n",
		"services/billing/a.go":            "package billing\n",
		"deploy/a.go":                      "package deploy\n",
		"tests/architecture/a.go":          "package architecture\n",
		"tests/docs/a.go":                  "package docs\n",
		"tests/scripts/a.go":               "package scripts\n",
		"tests/e2e/a_test.go":              "package e2e\n\nimport _ \"lavka/libs/wait\"\n",
	} {
		write(t, filepath.Join(dir, file), text)
	}
	git(t, dir, "init", "-q", "-b", "main")
	commit(t, dir)
	return dir
}

func TestCheckFindsWhatAChangeAffects(t *testing.T) {
	t.Parallel()
	dir := workspace(t)
	git(t, dir, "checkout", "-q", "-b", "change")
	const always = "lavka/tests/architecture lavka/tests/docs"
	if out, code := run(t, dir, nil, ".ci/check"); code != 0 || out != "nothing has changed since main\n" {
		t.Errorf("nothing has changed: %d %s", code, out)
	}
	for name, c := range map[string]struct{ file, vetted, tested string }{
		"a package that others import":       {"libs/money/money.go", "lavka/libs/money lavka/services/auth lavka/services/auth/internal/auth", "lavka/libs/money lavka/services/auth lavka/services/auth/internal/auth " + always},
		"a file that a test reads":           {"libs/money/testdata/a.json", "lavka/libs/money lavka/services/auth lavka/services/auth/internal/auth", "lavka/libs/money lavka/services/auth lavka/services/auth/internal/auth " + always},
		"a package that only tests import":   {"libs/wait/wait.go", "lavka/libs/wait lavka/services/catalog lavka/tests/e2e", "lavka/libs/wait lavka/services/catalog " + always},
		"a package that nothing imports":     {"libs/alone/new.go", "lavka/libs/alone", "lavka/libs/alone " + always},
		"a program":                          {"services/auth/main.go", "lavka/services/auth", "lavka/services/auth " + always},
		"the modules that a module requires": {"services/auth/go.mod", "lavka/services/auth lavka/services/auth/internal/auth", "lavka/services/auth lavka/services/auth/internal/auth " + always},
		"a document":                         {"README.md", "", always},
		"the Makefile":                       {"Makefile", "", always + " lavka/tests/scripts"},
	} {
		text, _ := os.ReadFile(filepath.Join(dir, c.file))
		if text == nil {
			text = []byte("package alone\n")
		}
		end := "\n"
		if strings.HasSuffix(c.file, ".go") {
			end = "\nvar changed bool\n"
		}
		write(t, filepath.Join(dir, c.file), string(text)+end)
		for _, state := range []string{"not committed", "committed"} {
			if state == "committed" {
				commit(t, dir)
			}
			out, code := run(t, dir, nil, ".ci/check")
			lines := strings.Split(strings.TrimSpace(out), "\n")
			want := []string{"misspell -error " + c.file}
			if c.vetted != "" {
				want = append(want, "go vet "+c.vetted, "staticcheck "+c.vetted)
			}
			want = append(want, "go test -race -parallel 4 -timeout 20m -count=1 "+c.tested)
			if code != 0 || !slices.Equal(lines[1:], want) {
				t.Errorf("%s, %s: %d\n%s\nwant\n%s", name, state, code, out, strings.Join(want, "\n"))
			}
		}
		git(t, dir, "reset", "-q", "--hard", "main")
	}
}

func TestCheckSaysWhatToCompareWith(t *testing.T) {
	t.Parallel()
	dir := workspace(t)
	git(t, dir, "branch", "-m", "trunk")
	if out, code := run(t, dir, nil, "make", "check"); code == 0 || !strings.Contains(out, "make check BASE=<branch>") {
		t.Errorf("there is no main: %d %s", code, out)
	}
	if out, code := run(t, dir, nil, "make", "check", "BASE=trunk"); code != 0 || !strings.Contains(out, "nothing has changed since trunk") {
		t.Errorf("%d %s", code, out)
	}
}

func TestCheckFailsWithItsParts(t *testing.T) {
	t.Parallel()
	dir := workspace(t)
	write(t, filepath.Join(dir, "libs/alone/alone.go"), "package  alone\n")
	if out, code := run(t, dir, nil, ".ci/check"); code == 0 || !strings.HasSuffix(out, "gofmt -w these:\nlibs/alone/alone.go\n") {
		t.Errorf("not formatted: %d %s", code, out)
	}
	write(t, filepath.Join(dir, "libs/alone/alone.go"), "package alone\n\nvar changed bool\n")
	for _, tool := range []string{"misspell", "staticcheck"} {
		write(t, filepath.Join(dir, "bin", tool), "#!/bin/sh\nexit 1\n")
		if out, code := run(t, dir, nil, ".ci/check"); code == 0 || strings.Contains(out, "go test") {
			t.Errorf("%s fails, and yet: %d %s", tool, code, out)
		}
		write(t, filepath.Join(dir, "bin", tool), "#!/bin/sh\n")
	}
}
