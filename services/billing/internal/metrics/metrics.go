// Package metrics counts for Prometheus what billing settles.
package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/group"
	"lavka/libs/domain/money"
	"lavka/services/billing/internal/billing"
)

// Metrics are the sizes and waits of groups, and the money they move.
type Metrics struct {
	sizes, waits prometheus.Histogram
	transactions *prometheus.CounterVec
	amounts      *prometheus.CounterVec
	shortfalls   prometheus.Counter
}

// New creates and registers the metrics.
func New(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		sizes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "billing_group_size", Help: "Payments and purchases settled in one transaction.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		waits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "billing_group_wait_seconds", Help: "Time that an item waits for its group.", Buckets: prometheus.ExponentialBuckets(.001, 2, 13),
		}),
		transactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "billing_transactions_total", Help: "New ledger entries by type: payments are credits, purchases and reversals are debits.",
		}, []string{"type"}),
		amounts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "billing_transactions_minor_units_total", Help: "Money moved by new ledger entries, in minor units, by type.",
		}, []string{"type"}),
	}
	m.shortfalls = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "billing_reversals_shortfall_minor_units_total", Help: "What bills did not hold when payments were reversed, in minor units.",
	})
	for _, t := range []string{billing.TypePayment, billing.TypePurchase, billing.TypeRefund, billing.TypeReversal} { // so that rate() has a zero to start from
		m.transactions.WithLabelValues(t)
		m.amounts.WithLabelValues(t)
	}
	registry.MustRegister(m.sizes, m.waits, m.transactions, m.amounts, m.shortfalls)
	return m
}

// Groups returns the instruments of the groups.
func (m *Metrics) Groups(tracer group.Tracer) group.Instruments {
	return group.Instruments{Sizes: m.sizes, Waits: m.waits, Tracer: tracer}
}

// Queue returns a gauge of the items waiting for a group, as counted by waiting.
func Queue(waiting func() int) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "billing_settle_queue_length", Help: "Items waiting for a group."},
		func() float64 { return float64(waiting()) })
}

// Ledger returns l with its credits and debits counted; repeats are not counted.
// It may miss a transaction that was committed while the connection was lost,
// because the retry finds it as a repeat.
func (m *Metrics) Ledger(l billing.Ledger) billing.Ledger { return counted{l, m} }

type counted struct {
	billing.Ledger
	metrics *Metrics
}

func (c counted) Settle(ctx context.Context, items []billing.Item) []billing.Result {
	results := c.Ledger.Settle(ctx, items)
	for _, r := range results {
		switch r := r.(type) {
		case billing.Credited:
			c.metrics.count(billing.TypePayment, r.Payment.Amount)
		case billing.Reversed:
			if d := r.Decision; d.Debited > 0 {
				c.metrics.count(billing.TypeReversal, d.Debited)
			}
			c.metrics.shortfalls.Add(float64(r.Decision.Shortfall))
		case billing.Decided:
			if r.Charge.Outcome == billing.Settled {
				c.metrics.count(billing.TypePurchase, r.Charge.Request.Amount)
			}
		case billing.RefundDecided:
			if r.Decision.Outcome == billing.Refunded {
				c.metrics.count(billing.TypeRefund, r.Decision.Request.Amount)
			}
		default: // repeats, refusals and failures move no money
		}
	}
	return results
}

func (m *Metrics) count(t string, amount money.Amount) {
	m.transactions.WithLabelValues(t).Inc()
	m.amounts.WithLabelValues(t).Add(float64(amount))
}
