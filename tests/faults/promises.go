package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"lavka/deploy/local/stack"
	"lavka/tests/faults/history"
)

// promise waits up to 20 s until seen reports that the shop has kept a promise.
// In a mix of faults it checks nothing.
func (t *trial) promise(ctx context.Context, what string, seen func() bool) error {
	if t.mixed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return await(ctx, what, seen)
}

// boughtLater reports whether a purchase that began after the given time was
// answered 202 and was not a repeat.
func (t *trial) boughtLater(after time.Duration) bool {
	return t.rec.Reached(func(h history.History) bool {
		return slices.ContainsFunc(h.Buys, func(b history.Buy) bool { return b.Start > after && b.Status == http.StatusAccepted && !b.Replayed })
	})
}

// credited reports whether a payment that began after the given time was
// credited and was not a repeat.
func (t *trial) credited(after time.Duration) bool {
	return t.rec.Reached(func(h history.History) bool {
		return slices.ContainsFunc(h.Pays, func(p history.Pay) bool { return p.Start > after && p.Status == http.StatusOK && !p.Replayed })
	})
}

// completed reports whether a purchase that began after the given time was
// answered 201 and was not a repeat.
func (t *trial) completed(after time.Duration) bool {
	return t.rec.Reached(func(h history.History) bool {
		return slices.ContainsFunc(h.Buys, func(b history.Buy) bool { return b.Start > after && b.Status == http.StatusCreated && !b.Replayed })
	})
}

// natsAway checks what the shop promises while NATS is down: purchases are
// accepted and completed later; payments, lists and logins keep working.
func (t *trial) natsAway(ctx context.Context) error {
	away := t.rec.Now()
	if err := t.promise(ctx, "a purchase answered 202 while NATS is down", func() bool { return t.boughtLater(away) }); err != nil {
		return err
	}
	if err := t.promise(ctx, "a payment credited while NATS is down", func() bool { return t.credited(away) }); err != nil {
		return err
	}
	if err := t.lists(ctx, "/products", "/bills", "/purchases", "/transactions"); err != nil {
		return fmt.Errorf("while NATS is down: %w", err)
	}
	if err := t.accounts.LogIn(ctx, t.rec, t.accounts.Buyers[0]); err != nil && !t.mixed {
		return fmt.Errorf("while NATS is down, a buyer can't log in: %w", err)
	}
	return nil
}

// lists checks that a buyer can read each of the paths. In a mix of faults it
// checks nothing.
func (t *trial) lists(ctx context.Context, paths ...string) error {
	if t.mixed {
		return nil
	}
	for _, path := range paths {
		if got := status(ctx, t.GatewayURL()+path, t.accounts.Buyers[0].Token()); got != http.StatusOK {
			return fmt.Errorf("GET %s was answered %d", path, got)
		}
	}
	return nil
}

// databaseAway checks what the shop promises while Postgres is down: 503 with
// Retry-After, /livez 200, /readyz 503.
func (t *trial) databaseAway(ctx context.Context) error {
	away := t.rec.Now()
	err := t.promise(ctx, "a purchase answered 503 with Retry-After while the database is down", func() bool {
		return t.rec.Reached(func(h history.History) bool {
			for _, b := range h.Buys {
				if b.Start > away && b.Status == http.StatusServiceUnavailable && b.RetryAfter {
					return true
				}
			}
			return false
		})
	})
	if err != nil {
		return err
	}
	for what, c := range t.rec.History().Calls() {
		if c.Start > away && c.Status >= 500 && (c.Status != http.StatusServiceUnavailable || !c.RetryAfter) {
			return fmt.Errorf("while the database was down, a request (%s) was answered %d %s, Retry-After %v", what, c.Status, c.Code, c.RetryAfter)
		}
	}
	return t.everyReplica(func(r *stack.Replica) error {
		if got := status(ctx, r.InternalURL()+"/livez", ""); got != http.StatusOK {
			return fmt.Errorf("%s: /livez returned %d while the database was down, want 200", r.Name, got)
		}
		if got := status(ctx, r.InternalURL()+"/readyz", ""); got != http.StatusServiceUnavailable {
			return fmt.Errorf("%s: /readyz returned %d while the database was down, want 503", r.Name, got)
		}
		return nil
	})
}
