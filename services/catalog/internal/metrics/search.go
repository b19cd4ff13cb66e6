package metrics

import "github.com/prometheus/client_golang/prometheus"

// Search is the metrics of what makes products searchable.
type Search struct{ left prometheus.Gauge }

// NewSearch creates and registers the metrics.
func NewSearch(registry prometheus.Registerer) *Search {
	s := &Search{prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "catalog_products_unsearchable", Help: "Products that searches may not find yet, counted up to 10000.",
	})}
	registry.MustRegister(s.left)
	return s
}

// Unsearchable sets how many products are not searchable yet.
func (s *Search) Unsearchable(products int) { s.left.Set(float64(products)) }
