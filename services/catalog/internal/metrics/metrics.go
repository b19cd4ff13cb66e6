// Package metrics counts the domain's events for Prometheus.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/group"
)

// Metrics implements the domain's interfaces for metrics.
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

// New creates and registers the metrics.
func New(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		groups: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "catalog_group_size", Help: "Items settled in one transaction.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}, []string{"kind"}),
		waits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "catalog_group_wait_seconds", Help: "Time that an item waits for its group.", Buckets: prometheus.ExponentialBuckets(.001, 2, 13),
		}, []string{"kind"}),
		purchases: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "catalog_purchases_total", Help: "Responses to POST /purchases, by purchase status or problem code.",
		}, []string{"outcome"}),
		pending:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "catalog_purchases_pending", Help: "Purchases that billing has not settled, over all replicas."}),
		oldest:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "catalog_purchases_oldest_pending_seconds", Help: "Age of the oldest pending purchase."}),
		resent:    prometheus.NewCounter(prometheus.CounterOpts{Name: "catalog_purchases_resent_total", Help: "Charge requests that the sweeper resent."}),
		refused:   prometheus.NewCounter(prometheus.CounterOpts{Name: "catalog_orders_refused_total", Help: "Orders refused before they were read, because the queue was full."}),
		unsent:    prometheus.NewCounter(prometheus.CounterOpts{Name: "catalog_purchases_unsent_total", Help: "Charge requests that could not be sent when the purchase was placed."}),
		dropped:   prometheus.NewCounter(prometheus.CounterOpts{Name: "catalog_answers_dropped_total", Help: "Answers from billing that were dropped because the queue was full."}),
		unwritten: prometheus.NewCounter(prometheus.CounterOpts{Name: "catalog_answer_groups_failed_total", Help: "Groups of answers that could not be written in full."}),
	}
	for _, outcome := range []string{
		"completed", "pending", "insufficient_funds", "bill_not_found", "user_disabled", "purchase_expired", "product_not_found", "price_changed", "too_many_declines",
		"idempotency_key_reused", "overloaded", "outcome_unknown", "unavailable", "internal",
	} {
		m.purchases.WithLabelValues(outcome) // a rate needs a zero to start from
	}
	registry.MustRegister(m.groups, m.waits, m.purchases, m.pending, m.oldest, m.resent, m.refused, m.unsent, m.dropped, m.unwritten)
	return m
}

// Groups returns the instruments of the groups of one kind, "orders", "answers"
// or "refund answers".
func (m *Metrics) Groups(kind string, tracer group.Tracer) group.Instruments {
	return group.Instruments{Sizes: m.groups.WithLabelValues(kind), Waits: m.waits.WithLabelValues(kind), Tracer: tracer}
}

// Queues returns gauges of the orders and of billing's answers that wait for a
// group, as counted by the functions.
func Queues(orders, answers func() int) []prometheus.Collector {
	gauge := func(name, help string, waiting func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(waiting()) })
	}
	return []prometheus.Collector{
		gauge("catalog_orders_waiting", "Orders waiting for a group.", orders),
		gauge("catalog_answers_waiting", "Answers from billing waiting for a group.", answers),
	}
}

// Bought counts the result of an order, which is a purchase status or a problem
// code.
func (m *Metrics) Bought(outcome string) { m.purchases.WithLabelValues(outcome).Inc() }

// OrderRefused counts an order refused before it was read.
func (m *Metrics) OrderRefused() { m.refused.Inc() }

// RequestUnsent counts a purchase whose request could not be sent when it was
// placed.
func (m *Metrics) RequestUnsent() { m.unsent.Inc() }

// RequestResent counts a charge request that the sweeper resent.
func (m *Metrics) RequestResent() { m.resent.Inc() }

// AnswerDropped counts an answer dropped because the queue was full.
func (m *Metrics) AnswerDropped() { m.dropped.Inc() }

// AnswersUnwritten counts a group of answers that was not written in full.
func (m *Metrics) AnswersUnwritten() { m.unwritten.Inc() }

// Pending sets the number of pending purchases over all replicas, and the age of
// the oldest.
func (m *Metrics) Pending(n int, oldest time.Duration) {
	m.pending.Set(float64(n))
	m.oldest.Set(oldest.Seconds())
}
