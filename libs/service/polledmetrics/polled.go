// Package polledmetrics has metrics for which somebody else has to be asked: a database,
// a broker. He is asked in the background, so that no scrape waits for him. While
// he does not answer, the metrics are absent: an old value would look like a good one.
package polledmetrics

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// goodFor is how many intervals an answer is shown for: one that fails is no news.
const goodFor = 3

// Metrics are those of the last answer. Register them, and Run the asking.
type Metrics struct {
	Name  string // for the log
	Log   *slog.Logger
	Every time.Duration // between two questions, and for each of them
	Descs []*prometheus.Desc
	Ask   func(context.Context) ([]prometheus.Metric, error)

	mu   sync.Mutex
	last []prometheus.Metric
	at   time.Time
}

// Run asks until ctx ends.
func (m *Metrics) Run(ctx context.Context) {
	tick := time.NewTicker(m.Every)
	defer tick.Stop()
	for {
		if err := m.runOnce(ctx); err != nil && ctx.Err() == nil {
			m.Log.DebugContext(ctx, "metrics can't be had; trying again", "of", m.Name, "error", err)
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

// Describe is for the registry.
func (m *Metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range m.Descs {
		descs <- d
	}
}

// Collect is for the registry.
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
