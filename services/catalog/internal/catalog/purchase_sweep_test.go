package catalog

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"lavka/services/catalog/internal/metrics"
)

func TestBackOff(t *testing.T) {
	t.Parallel()
	for claimed, want := range []time.Duration{3, 6, 12, 20, 20, 20} {
		want *= time.Second
		if got := BackOff(claimed, 0); got != want {
			t.Errorf("claim %d: %v, want %v", claimed, got, want)
		}
		if got := BackOff(claimed, 1); got != want+want/4 || got > 25*time.Second {
			t.Errorf("claim %d with full jitter: %v", claimed, got)
		}
	}
	if got := BackOff(1_000_000, 0.5); got > 25*time.Second || got < 20*time.Second {
		t.Errorf("after a million claims: %v", got)
	}
}

func TestSweeperSendsNothingWhileDisconnected(t *testing.T) {
	t.Parallel()
	m, w := &memory{rows: map[uuid.UUID]Purchase{id(1): {ID: id(1)}}}, &wire{down: true, sent: make(chan uuid.UUID, 1)}
	s := &Sweeper[Purchase]{Store: m, Requests: w, Metrics: metrics.New(prometheus.NewRegistry()), Batch: 10, Limiter: rate.NewLimiter(rate.Inf, 1)}
	if sent, err := s.runOnce(t.Context()); sent != 0 || err != nil {
		t.Errorf("%d sent, %v", sent, err)
	}
	w.down = false
	if sent, err := s.runOnce(t.Context()); sent != 1 || err != nil || <-w.sent != id(1) {
		t.Errorf("%d sent, %v", sent, err)
	}
	w.refuse = errors.New("disconnected again")
	if sent, err := s.runOnce(t.Context()); sent != 0 || !errors.Is(err, w.refuse) {
		t.Errorf("%d sent, %v", sent, err)
	}
}
