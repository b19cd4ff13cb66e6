package billing

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/group"
	"lavka/libs/domain/money"
	"lavka/libs/service/grouptrace"
)

// Metrics are billing's metrics: the sizes and waits of groups, and the money they move.
type Metrics struct {
	sizes, waits prometheus.Histogram
	transactions *prometheus.CounterVec
	amounts      *prometheus.CounterVec
}

// NewMetrics returns Metrics registered with registry.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		sizes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "billing_group_size", Help: "Payments and purchases settled in one transaction.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		waits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "billing_group_wait_seconds", Help: "Time an item waits for its group.", Buckets: prometheus.ExponentialBuckets(.001, 2, 13),
		}),
		transactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "billing_transactions_total", Help: "New ledger entries by type: payments are credits, purchases are debits.",
		}, []string{"type"}),
		amounts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "billing_transactions_minor_units_total", Help: "Money moved by new ledger entries, in minor units, by type.",
		}, []string{"type"}),
	}
	for _, t := range []string{TypePayment, TypePurchase} { // so that rate() has a zero to start from
		m.transactions.WithLabelValues(t)
		m.amounts.WithLabelValues(t)
	}
	registry.MustRegister(m.sizes, m.waits, m.transactions, m.amounts)
	return m
}

// Group returns cfg with its groups measured.
func (m *Metrics) Group(cfg group.Config) group.Config {
	cfg.Sizes, cfg.Waits, cfg.Tracer = m.sizes, m.waits, grouptrace.New("settle group")
	return cfg
}

// Ledger returns l with its credits and debits counted; repeats are not counted.
// It may miss a transaction that was committed while the connection was lost,
// because the retry finds it as a repeat.
func (m *Metrics) Ledger(l Ledger) Ledger { return counted{l, m} }

type counted struct {
	Ledger
	metrics *Metrics
}

func (c counted) Settle(ctx context.Context, items []Item) []Result {
	results := c.Ledger.Settle(ctx, items)
	for _, r := range results {
		switch r := r.(type) {
		case Credited:
			c.metrics.count(TypePayment, r.Payment.Amount)
		case Decided:
			if r.Charge.Outcome == Settled {
				c.metrics.count(TypePurchase, r.Charge.Request.Amount)
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
