package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The README is read in two minutes.
func TestTheReadmeIsShort(t *testing.T) {
	t.Parallel()
	const most = 1000 // words, those of code blocks and links included
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(string(text))); n > most {
		t.Errorf("README.md has %d words, more than %d: move details to docs/", n, most)
	}
}
