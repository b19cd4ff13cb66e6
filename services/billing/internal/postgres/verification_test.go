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

	"lavka/libs/testkit/waittest"
	"lavka/services/billing/internal/postgres"
)

// shown returns the metrics of the last verification.
func (s *shop) shown(t *testing.T) map[string]float64 {
	t.Helper()
	metrics, registry := s.Verifications(slog.New(slog.DiscardHandler)), prometheus.NewRegistry()
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

func TestTheLastVerificationIsShown(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	if got := s.shown(t); !maps.Equal(got, map[string]float64{"billing_ledger_verified_timestamp_seconds": 0}) {
		t.Errorf("before the first verification: %v", got)
	}
	for _, c := range []struct {
		difference error
		ok         float64
	}{{nil, 1}, {errors.New("a cent is missing"), 0}, {nil, 1}} {
		if err := s.RecordVerification(t.Context(), postgres.Verified{Bills: 2}, c.difference, 1500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		got := s.shown(t)
		if at := got["billing_ledger_verified_timestamp_seconds"]; time.Since(time.Unix(int64(at), 0)).Abs() > time.Minute {
			t.Errorf("verified at %v", at)
		}
		if got["billing_ledger_verify_ok"] != c.ok || got["billing_ledger_verify_duration_seconds"] != 1.5 {
			t.Errorf("%v: %v", c.difference, got)
		}
	}
}
