package metrics_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/metrics"
)

var (
	_ catalog.Metrics       = (*metrics.Metrics)(nil)
	_ catalog.SweepMetrics  = (*metrics.Metrics)(nil)
	_ catalog.CensusMetrics = (*metrics.Metrics)(nil)
)

func TestEachEventHasItsMetric(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m := metrics.New(registry)
	registry.MustRegister(metrics.Queues(func() int { return 3 }, func() int { return 4 })...)
	for range 2 {
		m.OrderRefused()
	}
	for range 3 {
		m.RequestUnsent()
	}
	for range 4 {
		m.RequestResent()
	}
	for range 5 {
		m.AnswerDropped()
	}
	m.AnswersUnwritten()
	m.Pending(7, 1500*time.Millisecond)
	m.Bought("completed")
	m.Groups("orders", nil).Sizes.Observe(1)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values, sizes := map[string]float64{}, map[string]int{}
	for _, f := range families {
		sizes[f.GetName()] = len(f.GetMetric())
		values[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue() // one of them is 0
	}
	for name, want := range map[string]float64{
		"catalog_orders_refused_total":             2,
		"catalog_purchases_unsent_total":           3,
		"catalog_purchases_resent_total":           4,
		"catalog_answers_dropped_total":            5,
		"catalog_answer_groups_failed_total":       1,
		"catalog_purchases_pending":                7,
		"catalog_purchases_oldest_pending_seconds": 1.5,
		"catalog_orders_waiting":                   3,
		"catalog_answers_waiting":                  4,
	} {
		if values[name] != want {
			t.Errorf("%s is %v, want %v", name, values[name], want)
		}
	}
	if n := sizes["catalog_purchases_total"]; n != 14 {
		t.Errorf("%d outcomes, want 14", n)
	}
	if n := sizes["catalog_group_size"]; n != 1 {
		t.Errorf("%d kinds of groups, want only the one that was used", n)
	}
}
