package billing

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/group"
	"lavka/libs/domain/money"
	"lavka/libs/service/grouptrace"
)

// Metrics are what an operator watches: groups, and the money that they move.
type Metrics struct {
	sizes, waits prometheus.Histogram
	transactions *prometheus.CounterVec
	amounts      *prometheus.CounterVec
}

// NewMetrics makes and registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		sizes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "billing_group_size", Help: "Payments and purchases settled in one transaction.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		waits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "billing_group_wait_seconds", Help: "Time that an item waits for its group.", Buckets: prometheus.ExponentialBuckets(.001, 2, 13),
		}),
		transactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "billing_transactions_total", Help: "New lines of the ledger, by type: payments are credits, purchases are charges.",
		}, []string{"type"}),
		amounts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "billing_transactions_minor_units_total", Help: "Money moved by new lines of the ledger, by their type.",
		}, []string{"type"}),
	}
	for _, t := range []string{TypePayment, TypePurchase} { // a rate needs a zero to begin from
		m.transactions.WithLabelValues(t)
		m.amounts.WithLabelValues(t)
	}
	registry.MustRegister(m.sizes, m.waits, m.transactions, m.amounts)
	return m
}

// Group has groups measured.
func (m *Metrics) Group(cfg group.Config) group.Config {
	cfg.Sizes, cfg.Waits, cfg.Tracer = m.sizes, m.waits, grouptrace.New("settle group")
	return cfg
}

// Ledger counts what a ledger credits and charges, and no repeats. It may miss what
// was committed while the connection was lost, since that is found as a repeat.
func (m *Metrics) Ledger(l Ledger) Ledger { return counted{l, m} }

type counted struct {
	Ledger
	metrics *Metrics
}

func (c counted) Settle(ctx context.Context, items []Item) []Result {
	results := c.Ledger.Settle(ctx, items)
	for i, r := range results {
		switch {
		case r.Repeat:
		case r.Credited:
			c.metrics.count(TypePayment, items[i].Payment.Amount)
		case r.Charge != nil && r.Charge.Outcome == Settled:
			c.metrics.count(TypePurchase, r.Charge.Amount)
		}
	}
	return results
}

func (m *Metrics) count(t string, amount money.Amount) {
	m.transactions.WithLabelValues(t).Inc()
	m.amounts.WithLabelValues(t).Add(float64(amount))
}
