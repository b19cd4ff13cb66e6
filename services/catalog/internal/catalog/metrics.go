package catalog

import (
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/group"
	"lavka/libs/domain/problem"
	"lavka/libs/service/grouptrace"
)

// Metrics are what an operator watches.
type Metrics struct {
	groups    *prometheus.HistogramVec
	waits     *prometheus.HistogramVec
	purchases *prometheus.CounterVec
	pending   prometheus.Gauge
	oldest    prometheus.Gauge
	resent    prometheus.Counter
	refused   prometheus.Counter
	unsent    prometheus.Counter
	dropped   prometheus.Counter
	unwritten prometheus.Counter
}

// NewMetrics makes and registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		groups: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "catalog_group_size", Help: "Items settled in one transaction.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}, []string{"kind"}),
		waits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "catalog_group_wait_seconds", Help: "Time that an item waits for its group.", Buckets: prometheus.ExponentialBuckets(.001, 2, 13),
		}, []string{"kind"}),
		purchases: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "catalog_purchases_total", Help: "Answers to POST /purchases, by status or problem code.",
		}, []string{"outcome"}),
		pending:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "catalog_purchases_pending", Help: "Purchases of all replicas that billing has not settled."}),
		oldest:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "catalog_purchases_oldest_pending_seconds", Help: "Age of the oldest pending purchase."}),
		resent:    prometheus.NewCounter(prometheus.CounterOpts{Name: "catalog_purchases_resent_total", Help: "Requests that the sweeper sent again."}),
		refused:   prometheus.NewCounter(prometheus.CounterOpts{Name: "catalog_orders_refused_total", Help: "Orders refused unread, since the queue was full."}),
		unsent:    prometheus.NewCounter(prometheus.CounterOpts{Name: "catalog_purchases_unsent_total", Help: "Requests that could not be sent when the purchase was made."}),
		dropped:   prometheus.NewCounter(prometheus.CounterOpts{Name: "catalog_answers_dropped_total", Help: "Answers of billing that found the queue full."}),
		unwritten: prometheus.NewCounter(prometheus.CounterOpts{Name: "catalog_answer_groups_failed_total", Help: "Groups of answers of which not all could be written."}),
	}
	for _, outcome := range []string{
		"completed", "pending", "insufficient_funds", "bill_not_found", "user_disabled", "purchase_expired", "product_not_found", "price_changed",
		"idempotency_key_reused", "overloaded", "outcome_unknown", "unavailable", "internal",
	} {
		m.purchases.WithLabelValues(outcome) // a rate needs a zero to begin from
	}
	registry.MustRegister(m.groups, m.waits, m.purchases, m.pending, m.oldest, m.resent, m.refused, m.unsent, m.dropped, m.unwritten)
	return m
}

// group has a kind of groups measured.
func (m *Metrics) group(kind, span string, cfg group.Config) group.Config {
	cfg.Sizes, cfg.Waits, cfg.Tracer = m.groups.WithLabelValues(kind), m.waits.WithLabelValues(kind), grouptrace.New(span)
	return cfg
}

func (m *Metrics) bought(p Placement) {
	outcome := string(p.Purchase.Status)
	if err := p.Err; err != nil {
		outcome = problem.From(err).Code
	} else if err := p.Purchase.Refusal(); err != nil {
		outcome = problem.From(err).Code
	}
	m.purchases.WithLabelValues(outcome).Inc()
}
