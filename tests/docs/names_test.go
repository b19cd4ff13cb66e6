package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link = regexp.MustCompile(`\]\(([^)#: ]+)[^)]*\)`)
	// A path from the root, in backquotes. One with * or <…> in it is a pattern.
	name = regexp.MustCompile("`((?:libs|services|deploy|tests|tools|docs)/[^` ]*)`")
)

// A name in the documentation is there to be opened: it must exist.
func TestNamesInTheDocumentationExist(t *testing.T) {
	t.Parallel()
	found := inDocuments(t, link, func(file string, m []string) { mustExist(t, file, filepath.Join(filepath.Dir(file), m[1])) })
	found += inDocuments(t, name, func(file string, m []string) { mustExist(t, file, filepath.Join(root, m[1])) })
	if found < 50 {
		t.Errorf("only %d names were found: the patterns miss them", found)
	}
}

var placeholder = regexp.MustCompile(`<[^>]*>`)

func mustExist(t *testing.T, file, path string) {
	t.Helper()
	matches, err := filepath.Glob(placeholder.ReplaceAllString(path, "*"))
	if err != nil {
		t.Errorf("%s names %s: %v", file, path, err)
	}
	if len(matches) == 0 {
		t.Errorf("%s names %s, which is not there", file, path)
	}
}

// inDocuments has f see every match of a pattern, and says how many there are.
func inDocuments(t *testing.T, pattern *regexp.Regexp, f func(file string, m []string)) (found int) {
	t.Helper()
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range pattern.FindAllStringSubmatch(string(text), -1) {
			found++
			f(file, m)
		}
	}
	return found
}

func documents(t *testing.T) []string {
	t.Helper()
	files := []string{filepath.Join(root, "README.md")}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".md") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
