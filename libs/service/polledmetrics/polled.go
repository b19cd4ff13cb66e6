// Package polledmetrics provides metrics whose values come from another system, such as
// a database or a broker. It is polled in the background, so that no scrape waits for
// it. While it does not respond, the metrics are absent: an old value would look current.
package polledmetrics

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// goodFor is the number of intervals for which a result is shown: a poll or two may fail.
const goodFor = 3

// Metrics is a collector that shows the metrics of the last successful poll. Register
// it, and call Run to poll.
type Metrics struct {
	Name  string // for the log
	Log   *slog.Logger
	Every time.Duration // the interval between polls, and the timeout of each
	Descs []*prometheus.Desc
	Ask   func(context.Context) ([]prometheus.Metric, error) // polls the other system

	mu   sync.Mutex
	last []prometheus.Metric
	at   time.Time
}

// Run polls until ctx ends.
func (m *Metrics) Run(ctx context.Context) {
	tick := time.NewTicker(m.Every)
	defer tick.Stop()
	for {
		if err := m.runOnce(ctx); err != nil && ctx.Err() == nil {
			m.Log.DebugContext(ctx, "can't poll metrics; retrying", "of", m.Name, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *Metrics) runOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.Every)
	defer cancel()
	answer, err := m.Ask(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last, m.at = answer, time.Now()
	return nil
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range m.Descs {
		descs <- d
	}
}

// Collect implements prometheus.Collector. After three intervals without a successful
// poll, it collects nothing.
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	m.mu.Lock()
	last, at := m.last, m.at
	m.mu.Unlock()
	if time.Since(at) > goodFor*m.Every {
		return
	}
	for _, metric := range last {
		metrics <- metric
	}
}
