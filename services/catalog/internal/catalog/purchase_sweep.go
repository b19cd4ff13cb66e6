package catalog

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"
)

// Limits of the backoff, without its jitter.
const (
	minBackOff = 3 * time.Second
	maxBackOff = 20 * time.Second
)

// BackOff returns the time until a purchase is sent again, given how often it
// has been resent so far: 3, 6, 12, 20, 20, … seconds. A jitter from 0 to 1 adds
// up to a quarter, so that purchases from one outage spread out. The result is
// at most 25 s, so that the end of a fault is noticed soon.
func BackOff(resent int, jitter float64) time.Duration {
	wait := maxBackOff
	if resent < 5 {
		wait = min(minBackOff<<resent, maxBackOff)
	}
	return wait + time.Duration(jitter*float64(wait)/4)
}

// SweepStore finds the purchases to send again.
type SweepStore interface {
	// Due claims and returns at most limit pending purchases that are due, the
	// longest overdue first. A claim postpones the time when a purchase is due
	// next by backOff, which gets the number of earlier claims.
	Due(ctx context.Context, limit int, backOff func(claimed int) time.Duration) ([]Purchase, error)
}

// SweepMetrics counts what a Sweeper does.
type SweepMetrics interface{ RequestResent() }

// Sweeper sends pending purchases again until they are settled.
type Sweeper struct {
	Store    SweepStore
	Requests Requests
	Metrics  SweepMetrics
	Log      *slog.Logger
	Every    time.Duration // pause between two sweeps
	Batch    int           // most purchases claimed at once
	Limiter  *rate.Limiter // of requests sent
}

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) {
	for {
		sent, err := s.runOnce(ctx)
		if err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "can't resend pending purchases", "error", err)
		}
		wait := s.Every
		if err == nil && sent == s.Batch {
			wait = 0 // more may be due
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// runOnce claims the purchases that are due and, after the commit, sends them.
func (s *Sweeper) runOnce(ctx context.Context) (sent int, err error) {
	if !s.Requests.Connected() {
		return 0, nil // a claim would only postpone them
	}
	due, err := s.Store.Due(ctx, s.Batch, func(claimed int) time.Duration { return BackOff(claimed, rand.Float64()) })
	if err != nil {
		return 0, err
	}
	for _, p := range due {
		if err := s.Limiter.Wait(ctx); err != nil {
			return sent, fmt.Errorf("resend: %w", err)
		}
		// If it gets lost, no answer comes, and the purchase is due again later.
		if err := s.Requests.SendAgain(ctx, p); err != nil {
			return sent, fmt.Errorf("resend: %w", err)
		}
		s.Metrics.RequestResent()
		sent++
	}
	return sent, nil
}
