package metrics

import "github.com/prometheus/client_golang/prometheus"

// Refunds is Metrics for refunds. It shares the counters of answers.
type Refunds struct {
	*Metrics
	outcomes *prometheus.CounterVec
	again    prometheus.Counter
}

// NewRefunds creates and registers the metrics of refunds.
func NewRefunds(registry prometheus.Registerer, m *Metrics) *Refunds {
	r := &Refunds{
		Metrics: m,
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "catalog_refunds_total", Help: "Responses to POST /purchases/{id}/refunds, by refund status, reason of the decline or problem code.",
		}, []string{"outcome"}),
		again: prometheus.NewCounter(prometheus.CounterOpts{Name: "catalog_refunds_resent_total", Help: "Refund requests that the sweeper resent."}),
	}
	for _, outcome := range []string{
		"completed", "pending", "refund_exceeds", "balance_limit", "charge_not_found", "bill_owes", "purchase_not_found", "purchase_not_completed", "too_many_refunds",
		"idempotency_key_reused", "not_open_yet", "outcome_unknown", "internal",
	} {
		r.outcomes.WithLabelValues(outcome) // a rate needs a zero to start from
	}
	registry.MustRegister(r.outcomes, r.again)
	return r
}

// Refunded counts the result of a request for a refund.
func (r *Refunds) Refunded(outcome string) { r.outcomes.WithLabelValues(outcome).Inc() }

// RequestResent counts a refund request that the sweeper resent.
func (r *Refunds) RequestResent() { r.again.Inc() }
