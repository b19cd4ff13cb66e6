package catalog

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"
)

// The back-off of what is asked again, without its jitter.
const (
	minBackOff = 3 * time.Second
	maxBackOff = 20 * time.Second
)

// BackOff is the time until a purchase is sent again, when it has been sent
// again so many times before: 3, 6, 12, 20, 20, … seconds and up to a quarter
// more by jitter (0 to 1), so that those of one outage don't stay together. It
// is never more than 25 s: a fault's end is noticed soon.
func BackOff(resent int, jitter float64) time.Duration {
	wait := maxBackOff
	if resent < 5 {
		wait = min(minBackOff<<resent, maxBackOff)
	}
	return wait + time.Duration(jitter*float64(wait)/4)
}

// SweepStore finds what has to be sent again.
type SweepStore interface {
	// Due claims pending purchases whose time has come, the longest due first,
	// by setting the time when each is due next: backOff of how many times it
	// has been claimed.
	Due(ctx context.Context, limit int, backOff func(claimed int) time.Duration) ([]Purchase, error)
}

// Sweeper sends pending purchases again until they are settled.
type Sweeper struct {
	Store    SweepStore
	Requests Requests
	Metrics  *Metrics
	Log      *slog.Logger
	Every    time.Duration // between two looks
	Batch    int           // claimed at once
	Limiter  *rate.Limiter // how many are sent in a second
}

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) {
	for {
		sent, err := s.runOnce(ctx)
		if err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "pending purchases can't be sent again", "error", err)
		}
		wait := s.Every
		if err == nil && sent == s.Batch {
			wait = 0 // there is more
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// runOnce claims what is due and then, after the commit, sends it.
func (s *Sweeper) runOnce(ctx context.Context) (sent int, err error) {
	if !s.Requests.Connected() {
		return 0, nil // a claim would only make it wait longer
	}
	due, err := s.Store.Due(ctx, s.Batch, func(claimed int) time.Duration { return BackOff(claimed, rand.Float64()) })
	if err != nil {
		return 0, err
	}
	for _, p := range due {
		if err := s.Limiter.Wait(ctx); err != nil {
			return sent, fmt.Errorf("send again: %w", err)
		}
		// Whether it arrives shows in its answer, or else it will be due again.
		if err := s.Requests.SendAgain(ctx, p); err != nil {
			return sent, fmt.Errorf("send again: %w", err)
		}
		s.Metrics.resent.Inc()
		sent++
	}
	return sent, nil
}
