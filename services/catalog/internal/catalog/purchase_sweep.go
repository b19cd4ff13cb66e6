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

// SweepStore finds what to send again: purchases or refunds.
type SweepStore[T any] interface {
	// Due claims and returns at most limit pending rows that are due, the longest
	// overdue first. A claim postpones the time when a row is due next by backOff,
	// which gets the number of earlier claims.
	Due(ctx context.Context, limit int, backOff func(claimed int) time.Duration) ([]T, error)
}

// DueFunc is a function that is a SweepStore.
type DueFunc[T any] func(ctx context.Context, limit int, backOff func(claimed int) time.Duration) ([]T, error)

// Due calls f.
func (f DueFunc[T]) Due(ctx context.Context, limit int, backOff func(claimed int) time.Duration) ([]T, error) {
	return f(ctx, limit, backOff)
}

// SweepRequests sends requests to billing. See [Requests].
type SweepRequests[T any] interface {
	SendAgain(ctx context.Context, pending T) error
	Connected() bool
}

// SweepMetrics counts what a Sweeper does.
type SweepMetrics interface{ RequestResent() }

// Sweeper sends pending purchases, or pending refunds, again until they are settled.
type Sweeper[T any] struct {
	Store    SweepStore[T]
	Requests SweepRequests[T]
	Metrics  SweepMetrics
	Log      *slog.Logger
	Every    time.Duration // pause between two sweeps
	Batch    int           // most rows claimed at once
	Limiter  *rate.Limiter // of requests sent
}

// Run sweeps until ctx ends.
func (s *Sweeper[T]) Run(ctx context.Context) {
	for {
		sent, err := s.runOnce(ctx)
		if err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "can't resend what is pending", "error", err)
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

// runOnce claims the rows that are due and, after the commit, sends them.
func (s *Sweeper[T]) runOnce(ctx context.Context) (sent int, err error) {
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
		// If it gets lost, no answer comes, and the row is due again later.
		if err := s.Requests.SendAgain(ctx, p); err != nil {
			return sent, fmt.Errorf("resend: %w", err)
		}
		s.Metrics.RequestResent()
		sent++
	}
	return sent, nil
}
