package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	anchorLink = regexp.MustCompile(`\]\(([^)#: ]*)#([^) ]+)\)`)
	title      = regexp.MustCompile(`(?m)^#+ (.+)$`)
	unwritten  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// A link to a part of a document leads to a heading. Whoever follows one from an alert has no time to search.
func TestLinksLeadToHeadings(t *testing.T) {
	t.Parallel()
	found := inDocuments(t, anchorLink, func(file string, m []string) {
		to := file
		if m[1] != "" {
			to = filepath.Join(filepath.Dir(file), m[1])
		}
		target, err := os.ReadFile(to)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			return
		}
		if !anchors(string(target))[m[2]] {
			t.Errorf("%s leads to #%s of %s, which has no such heading", file, m[2], to)
		}
	})
	if found < 30 {
		t.Errorf("only %d links were found: the pattern misses them", found)
	}
}

// anchors are what headings can be linked by, as GitHub makes them.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range title.FindAllStringSubmatch(text, -1) {
		all[strings.ReplaceAll(unwritten.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return all
}

func TestAnchorsAreThoseOfGitHub(t *testing.T) {
	t.Parallel()
	all := anchors("# NATS: users and passwords\ntext # not this\n### NATSAway\n## What's `kept`\n")
	for _, want := range []string{"nats-users-and-passwords", "natsaway", "whats-kept"} {
		if !all[want] {
			t.Errorf("%s is not among %v", want, all)
		}
	}
	if len(all) != 3 {
		t.Errorf("%v", all)
	}
}
