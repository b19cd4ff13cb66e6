package observability

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Section returns the text below a second-level heading of docs/operations.md.
func Section(root, heading string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "docs/operations.md"))
	if err != nil {
		return "", err
	}
	_, after, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		return "", fmt.Errorf("docs/operations.md has no heading %q", heading)
	}
	section, _, _ := strings.Cut(after, "\n## ")
	return section, nil
}

var (
	row    = regexp.MustCompile(`(?m)^\| (.*?) \| .+ \| .+ \| .+ \|$`)
	metric = regexp.MustCompile("`([a-z_]+)(?:\\{([a-z_,]+)\\})?`")
)

// Documented compares the metrics that a section of tables lists, in the first column as `name{label,label}`, with those that are exposed. Those
// of Go, of the process and of the scraping itself are documented elsewhere.
func (e *Exposed) Documented(section string) []error {
	listed := map[string]string{}
	for _, r := range row.FindAllStringSubmatch(section, -1) {
		for _, m := range metric.FindAllStringSubmatch(r[1], -1) {
			listed[m[1]] = m[2]
		}
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(e.families)) {
		has := strings.Join(slices.Sorted(maps.Keys(e.families[name])), ",")
		said, ok := listed[name]
		switch {
		case strings.HasPrefix(name, "go_"), strings.HasPrefix(name, "process_"), strings.HasPrefix(name, "promhttp_"):
		case !ok:
			errs = append(errs, fmt.Errorf("%s is exposed, but no row of a table lists it", name))
		case sorted(said) != has:
			errs = append(errs, fmt.Errorf("%s has the labels {%s}, and {%s} are listed", name, has, said))
		}
		delete(listed, name)
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		errs = append(errs, fmt.Errorf("%s is listed, but no service exposes it", name))
	}
	return errs
}

func sorted(list string) string {
	names := strings.Split(list, ",")
	slices.Sort(names)
	return strings.Join(names, ",")
}
