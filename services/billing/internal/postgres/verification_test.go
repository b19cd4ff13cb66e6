package postgres_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/polledmetrics"
	"lavka/libs/testkit/waittest"
	"lavka/services/billing/internal/postgres"
)

// shown returns the values of metrics that are polled.
func shown(t *testing.T, metrics *polledmetrics.Metrics) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { metrics.Run(ctx) })
	shown := map[string]float64{}
	waittest.Eventually(t, "the metrics have values", func() bool {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			shown[f.GetName()] = f.Metric[0].Gauge.GetValue()
		}
		return len(shown) > 0
	})
	return shown
}

func TestTheLastResultIsShown(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for prefix, check := range map[string]struct {
		metrics func(*slog.Logger) *polledmetrics.Metrics
		record  func(difference error) error
		done    func(context.Context, time.Time) (bool, error)
	}{
		"billing_ledger": {s.Verifications, func(difference error) error {
			return s.RecordVerification(t.Context(), postgres.Verified{Bills: 2}, difference, 1500*time.Millisecond)
		}, s.Verified},
		"billing_books": {s.Comparisons, func(difference error) error {
			return s.RecordComparison(t.Context(), difference, 1500*time.Millisecond)
		}, s.Compared},
	} {
		silent := slog.New(slog.DiscardHandler)
		if got := shown(t, check.metrics(silent)); !maps.Equal(got, map[string]float64{prefix + "_verified_timestamp_seconds": 0}) {
			t.Errorf("before the first run: %v", got)
		}
		if done, err := check.done(t.Context(), time.Unix(0, 0)); done || err != nil {
			t.Errorf("before the first run: %v, %v", done, err)
		}
		for _, c := range []struct {
			difference error
			ok         float64
		}{{nil, 1}, {errors.New("a cent is missing"), 0}, {nil, 1}} {
			if err := check.record(c.difference); err != nil {
				t.Fatal(err)
			}
			got := shown(t, check.metrics(silent))
			if at := got[prefix+"_verified_timestamp_seconds"]; time.Since(time.Unix(int64(at), 0)).Abs() > time.Minute {
				t.Errorf("verified at %v", at)
			}
			if got[prefix+"_verify_ok"] != c.ok || got[prefix+"_verify_duration_seconds"] != 1.5 {
				t.Errorf("%v: %v", c.difference, got)
			}
			for since, want := range map[time.Duration]bool{-time.Minute: true, time.Minute: false} {
				if done, err := check.done(t.Context(), time.Now().Add(since)); done != want || err != nil {
					t.Errorf("done since %v: %v, %v", since, done, err)
				}
			}
		}
	}
}
