package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// settingFiles maps the launcher, all services, and each service to the Go file that
// declares its settings.
var settingFiles = map[string]string{
	"launcher": "deploy/local/settings.go",
	"all":      "libs/service/config/config.go",
	"auth":     "services/auth/config.go",
	"catalog":  "services/catalog/config.go",
	"billing":  "services/billing/config.go",
}

// reader is a setting and the program that reads it: a key of settingFiles.
type reader struct{ name, who string }

// docs/settings.md must list every setting that the source reads, with its default,
// and no others.
func TestEverySettingIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "docs/settings.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := settingsInDocs(string(text))
	source := map[reader]string{}
	for who, file := range settingFiles {
		settings := settingsInSource(t, file)
		if len(settings) == 0 {
			t.Errorf("%s has no settings: were they moved?", file)
		}
		for name, fallback := range settings {
			source[reader{name, who}] = fallback
		}
	}
	for r, fallback := range source {
		defaults, ok := documented[r]
		switch {
		case !ok:
			t.Errorf("docs/settings.md has no row for %s, which %s reads (%s)", r.name, r.who, settingFiles[r.who])
		case fallback != "" && !slices.Contains(defaults, fallback):
			t.Errorf("docs/settings.md gives the defaults %q for %s of %s; it is %q", defaults, r.name, r.who, fallback)
		}
	}
	for r := range documented {
		if _, ok := source[r]; !ok && !strings.HasPrefix(r.name, "OTEL_") {
			t.Errorf("docs/settings.md lists %s for %s, but %s does not read it", r.name, r.who, settingFiles[r.who])
		}
	}
}

// The test above must read the settings of every service.
func TestEveryServicesSettingsAreRead(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(root, "services/*/config.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if service := filepath.Base(filepath.Dir(file)); settingFiles[service] == "" {
			t.Errorf("add services/%s/config.go to settingFiles", service)
		}
	}
}

var (
	settingName = regexp.MustCompile("`([A-Z][A-Z_]+)`")
	codeSpan    = regexp.MustCompile("`([^`]+)`")
)

// settingsInDocs returns the defaults in the row of each setting. A row of the
// launcher's table has three columns. A row of a table of services has one more, the
// second, which lists the services.
func settingsInDocs(text string) map[reader][]string {
	all := map[reader][]string{}
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		who, fallback := "launcher", 1
		if len(cells) == 4 {
			who, fallback = strings.TrimSpace(cells[1]), 2
		} else if len(cells) != 3 {
			continue
		}
		var defaults []string
		for _, m := range codeSpan.FindAllStringSubmatch(cells[fallback], -1) {
			defaults = append(defaults, m[1])
		}
		for _, m := range settingName.FindAllStringSubmatch(cells[0], -1) {
			for w := range strings.SplitSeq(who, ", ") {
				all[reader{m[1], w}] = defaults
			}
		}
	}
	return all
}

// settingsInSource returns the default of each field with an envconfig tag, by name.
func settingsInSource(t *testing.T, file string) map[string]string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if field, ok := n.(*ast.Field); ok && field.Tag != nil {
			if tag, err := strconv.Unquote(field.Tag.Value); err == nil && reflect.StructTag(tag).Get("envconfig") != "" {
				all[reflect.StructTag(tag).Get("envconfig")] = reflect.StructTag(tag).Get("default")
			}
		}
		return true
	})
	return all
}

func TestSettingsAreFoundInTables(t *testing.T) {
	t.Parallel()
	got := settingsInDocs("| setting | default | meaning |\n|---|---|---|\n| `A_B` | `1`, `2` | `NOT_THIS` |\n| `HTTP_ADDR`, `D_E` | auth, billing | `x` (y) | z |\n`F_G`\n")
	want := map[reader][]string{
		{"A_B", "launcher"}: {"1", "2"}, {"HTTP_ADDR", "auth"}: {"x"}, {"HTTP_ADDR", "billing"}: {"x"}, {"D_E", "auth"}: {"x"}, {"D_E", "billing"}: {"x"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}
