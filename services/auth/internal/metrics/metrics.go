// Package metrics counts auth's events for Prometheus.
package metrics

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/polledmetrics"
	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/hook"
)

// Metrics counts logins and the links that are sent.
type Metrics struct {
	logins *prometheus.CounterVec
	links  *prometheus.CounterVec
}

// New creates and registers the metrics.
func New(registry prometheus.Registerer) *Metrics {
	m := &Metrics{logins: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "auth_logins_total",
		Help: "Logins by outcome: ok, or the code of the refusal.",
	}, []string{"outcome"})}
	for _, outcome := range []string{
		"ok", "invalid_credentials", "user_inactive", "user_disabled", "too_many_attempts", "overloaded", "unavailable", "client_gone", "internal",
	} {
		m.logins.WithLabelValues(outcome) // so that rate() has a zero to start from
	}
	m.links = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "auth_links_total",
		Help: "Attempts to send a link through the hook, by outcome: sent, failed, refused or given_up.",
	}, []string{"event", "outcome"})
	for _, event := range []auth.LinkEvent{auth.ActivationLink, auth.ResetLink} {
		for _, outcome := range []string{hook.Sent, hook.Failed, hook.Refused, hook.GivenUp} {
			m.links.WithLabelValues(string(event), outcome)
		}
	}
	registry.MustRegister(m.logins, m.links)
	return m
}

// Link counts an attempt to send a link.
func (m *Metrics) Link(event auth.LinkEvent, outcome string) {
	m.links.WithLabelValues(string(event), outcome).Inc()
}

var oldestLink = prometheus.NewDesc("auth_links_oldest_unsent_seconds", "Age of the oldest link that waits to be sent through the hook; 0 if none does.", nil, nil)

// OldestLink returns a metric that oldest reports every 15 seconds.
func OldestLink(oldest func(context.Context) (time.Duration, error), log *slog.Logger) *polledmetrics.Metrics {
	return &polledmetrics.Metrics{
		Name: "links to be sent", Log: log, Every: 15 * time.Second, Descs: []*prometheus.Desc{oldestLink},
		Ask: func(ctx context.Context) ([]prometheus.Metric, error) {
			age, err := oldest(ctx)
			if err != nil {
				return nil, err
			}
			return []prometheus.Metric{prometheus.MustNewConstMetric(oldestLink, prometheus.GaugeValue, age.Seconds())}, nil
		},
	}
}

// Login counts a login by its outcome: "ok", or a problem's code.
func (m *Metrics) Login(outcome string) { m.logins.WithLabelValues(outcome).Inc() }

// Polled returns the metrics that functions report: the callers that wait for a turn
// to hash, the users that should have been published by now, how many were published,
// the time at which the signing key was created, and whether ADMIN_LOGIN is an admin's.
func Polled(hashing func() int, due, published, keyCreated func() int64, adminLogin func() bool) []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		gauge("auth_hash_queue", "Callers waiting for a turn to hash a password.", func() float64 { return float64(hashing()) }),
		gauge("auth_users_due", "Users that should have been published by now.", func() float64 { return float64(due()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "auth_users_published_total", Help: "Users that this replica has published, repeats included."},
			func() float64 { return float64(published()) }),
		gauge("auth_signing_key_created_timestamp_seconds", "Unix time at which the signing key was created; 0 if its file does not record it.",
			func() float64 { return float64(keyCreated()) }),
		gauge("auth_admin_login_is_admin", "1 if ADMIN_LOGIN is an admin's or is not set, otherwise 0.", func() float64 {
			if adminLogin() {
				return 1
			}
			return 0
		}),
	}
}
