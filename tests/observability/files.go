package observability

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v4"
)

// Rule records a metric, or raises an alert.
type Rule struct {
	Record      string            `yaml:"record"`
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// Rules reads deploy/observability/rules.
func Rules(root string) ([]Rule, error) {
	files, err := read[struct{ Groups []struct{ Rules []Rule } }](root, "rules/*.yaml", yamlTo)
	if err != nil {
		return nil, err
	}
	var rules []Rule
	for _, f := range files {
		for _, g := range f.Groups {
			rules = append(rules, g.Rules...)
		}
	}
	return rules, nil
}

// Expected is what a test of the rules expects a query to give at a moment.
type Expected struct {
	Expr    string `yaml:"expr"`
	Samples []struct {
		Labels string  `yaml:"labels"`
		Value  float64 `yaml:"value"`
	} `yaml:"exp_samples"`
}

// RuleTests reads deploy/observability/rules/tests.
func RuleTests(root string) ([]Expected, error) {
	files, err := read[struct {
		Tests []struct {
			Expected []Expected `yaml:"promql_expr_test"`
		}
	}](root, "rules/tests/*.yaml", yamlTo)
	if err != nil {
		return nil, err
	}
	var all []Expected
	for _, f := range files {
		for _, t := range f.Tests {
			all = append(all, t.Expected...)
		}
	}
	return all, nil
}

// Panel is one of Grafana's. A row has no targets.
type Panel struct {
	ID          int
	Type, Title string
	Description string
	Datasource  struct{ Type, UID string }
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct{ Expr, LegendFormat string }
	FieldConfig struct{ Defaults struct{ Unit string } }
}

// Panels reads deploy/observability/grafana, in order.
func Panels(root string) ([]Panel, error) {
	dashboards, err := read[struct{ Panels []Panel }](root, "grafana/*.json", json.Unmarshal)
	if err != nil {
		return nil, err
	}
	var panels []Panel
	for _, d := range dashboards {
		panels = append(panels, d.Panels...)
	}
	return panels, nil
}

func yamlTo(text []byte, into any) error { return yaml.Unmarshal(text, into) }

func read[T any](root, pattern string, unmarshal func([]byte, any) error) ([]T, error) {
	names, err := filepath.Glob(filepath.Join(root, "deploy/observability", pattern))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("look for %s: %d files, %w", pattern, len(names), err)
	}
	all := make([]T, len(names))
	for i, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := unmarshal(text, &all[i]); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return all, nil
}
