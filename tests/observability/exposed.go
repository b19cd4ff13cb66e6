// Package observability checks the shop's monitoring (deploy/observability and the metrics in docs/operations.md) against the metrics that the shop exposes.
package observability

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Exposed are series: the labels of each, by the name used in queries.
type Exposed struct {
	series   map[string][]map[string]string
	families map[string]map[string]bool // the labels of metrics by their names in /metrics, where a histogram is one metric
}

// foreign are the metrics of others that we use, and the labels that we use of them.
var foreign = map[string][]string{
	"up": {"job", "instance"}, // Prometheus's own
	"certmanager_certificate_expiration_timestamp_seconds": {"name", "namespace"}, // cert-manager
	"probe_ssl_earliest_cert_expiry":                       {"instance"},          // blackbox exporter
}

// attached are the labels that Prometheus gives to every series.
var attached = []string{"job", "instance"}

// NewExposed returns the metrics that other programs expose.
func NewExposed() *Exposed {
	e := &Exposed{map[string][]map[string]string{}, map[string]map[string]bool{}}
	for name, has := range foreign {
		e.add(name, has...)
	}
	return e
}

func (e *Exposed) add(name string, has ...string) {
	series := map[string]string{}
	for _, label := range has {
		series[label] = ""
	}
	e.series[name] = append(e.series[name], series)
}

// Scraped adds the metrics that a service has exposed.
func (e *Exposed) Scraped(text io.Reader) error {
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(text)
	if err != nil {
		return fmt.Errorf("read metrics: %w", err)
	}
	for name, family := range families {
		if e.families[name] == nil {
			e.families[name] = map[string]bool{}
		}
		for _, m := range family.Metric {
			series := map[string]string{}
			for _, pair := range m.Label {
				series[pair.GetName()] = pair.GetValue()
				e.families[name][pair.GetName()] = true
			}
			switch family.GetType() {
			case dto.MetricType_HISTOGRAM:
				for _, b := range m.Histogram.Bucket {
					bucket := maps.Clone(series)
					bucket["le"] = fmt.Sprint(b.GetUpperBound())
					e.series[name+"_bucket"] = append(e.series[name+"_bucket"], bucket)
				}
				fallthrough
			case dto.MetricType_SUMMARY:
				e.series[name+"_sum"] = append(e.series[name+"_sum"], series)
				e.series[name+"_count"] = append(e.series[name+"_count"], series)
			default:
				e.series[name] = append(e.series[name], series)
			}
		}
	}
	return nil
}

// Has reports whether there is a series with that name.
func (e *Exposed) Has(name string) bool { return len(e.series[name]) > 0 }

// Recorded adds the metric that a rule records.
func (e *Exposed) Recorded(name, query string) error {
	expr, err := parse(query)
	if err != nil {
		return err
	}
	e.add(name, labelsOf(expr)...)
	return nil
}

// labelsOf are the labels that a query's result has, of queries that end in an aggregation by some, or an operation of such.
func labelsOf(expr parser.Expr) []string {
	switch x := expr.(type) {
	case *parser.AggregateExpr:
		return x.Grouping
	case *parser.BinaryExpr:
		return slices.Compact(slices.Sorted(slices.Values(append(labelsOf(x.LHS), labelsOf(x.RHS)...))))
	case *parser.ParenExpr:
		return labelsOf(x.Expr)
	}
	return nil
}

// Check reports what a query names but no service exposes: a metric, one of its labels, or a label's value.
func (e *Exposed) Check(query string) []error {
	expr, err := parse(query)
	if err != nil {
		return []error{err}
	}
	var errs []error
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch x := node.(type) {
		case *parser.VectorSelector:
			errs = append(errs, e.selected(x)...)
		case *parser.AggregateExpr:
			errs = append(errs, e.grouped(x.Expr, x.Grouping)...)
		case *parser.BinaryExpr:
			if x.VectorMatching != nil {
				errs = append(errs, e.grouped(x, x.VectorMatching.MatchingLabels)...)
			}
		}
		return nil
	})
	return errs
}

func (e *Exposed) selected(s *parser.VectorSelector) []error {
	if !e.Has(s.Name) {
		return []error{fmt.Errorf("there is no metric %q", s.Name)}
	}
	var errs []error
	for _, m := range s.LabelMatchers {
		if m.Name == model.MetricNameLabel || slices.Contains(attached, m.Name) {
			continue
		}
		if !e.label(s.Name, m.Name, "") {
			errs = append(errs, fmt.Errorf("%s has no label %q", s.Name, m.Name))
			continue
		}
		for _, value := range named(m) {
			if !e.label(s.Name, m.Name, value) {
				errs = append(errs, fmt.Errorf("%s has no series with %s=%q", s.Name, m.Name, value))
			}
		}
	}
	return errs
}

// named returns the values that a matcher names. A pattern such as 5.. names none.
func named(m *labels.Matcher) []string {
	switch m.Type {
	case labels.MatchEqual:
		return []string{m.Value}
	case labels.MatchRegexp:
		return slices.DeleteFunc(strings.Split(m.Value, "|"), func(value string) bool { return regexp.QuoteMeta(value) != value })
	default:
		return nil
	}
}

// label reports whether a metric has a label, and, if value is not empty, whether one of its series has that value.
func (e *Exposed) label(metric, name, value string) bool {
	return slices.ContainsFunc(e.series[metric], func(series map[string]string) bool {
		has, ok := series[name]
		return ok && (value == "" || has == value)
	})
}

// grouped looks for labels by which series are put together or matched: one of the metrics within must have each.
func (e *Exposed) grouped(within parser.Expr, by []string) []error {
	var errs []error
	for _, label := range by {
		found := slices.Contains(attached, label)
		parser.Inspect(within, func(node parser.Node, _ []parser.Node) error {
			if s, ok := node.(*parser.VectorSelector); ok {
				found = found || e.label(s.Name, label, "")
			}
			return nil
		})
		if !found {
			errs = append(errs, fmt.Errorf("no metric in %s has the label %q", within, label))
		}
	}
	return errs
}

// parse parses a query. Grafana replaces $__rate_interval at query time; here it is 5m.
func parse(query string) (parser.Expr, error) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(strings.ReplaceAll(query, "$__rate_interval", "5m"))
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", query, err)
	}
	return expr, nil
}
