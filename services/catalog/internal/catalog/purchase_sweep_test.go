package catalog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
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

// A full batch is followed by the next one at once; after fewer rows, or an error, there is a pause. An error is logged, unless the service is stopping.
func TestPausesOfTheSweeper(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		const batch = 2
		began := time.Now()
		var at []time.Duration
		results := []struct {
			rows int
			err  error
		}{{batch, nil}, {batch, nil}, {1, nil}, {0, nil}, {0, errors.New("unreachable")}, {0, errors.New("stopped")}}
		due := func(context.Context, int, func(int) time.Duration) ([]Purchase, error) {
			result := results[len(at)]
			if at = append(at, time.Since(began)); len(at) == len(results) {
				cancel()
			}
			return make([]Purchase, result.rows), result.err
		}
		var log bytes.Buffer
		s := &Sweeper[Purchase]{
			Store: DueFunc[Purchase](due), Requests: &wire{sent: make(chan uuid.UUID, 10)}, Metrics: metrics.New(prometheus.NewRegistry()), Log: slog.New(slog.NewTextHandler(&log, nil)),
			Every: time.Minute, Batch: batch, Limiter: rate.NewLimiter(rate.Inf, 1),
		}
		s.Run(ctx)
		if want := []time.Duration{0, 0, 0, time.Minute, 2 * time.Minute, 3 * time.Minute}; !slices.Equal(at, want) {
			t.Errorf("sweeps at %v instead of %v", at, want)
		}
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "unreachable") {
			t.Errorf("logged: %s", text)
		}
	})
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
