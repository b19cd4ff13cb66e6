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

// promise waits until something that the shop promises meanwhile was seen.
func (t *trial) promise(ctx context.Context, what string, seen func() bool) error {
	if t.mixed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return await(ctx, what, seen)
}

// boughtLater says whether a purchase was answered 202 that began after a moment.
func (t *trial) boughtLater(after time.Duration) bool {
	return t.among(func(h history.History) bool {
		return slices.ContainsFunc(h.Buys, func(b history.Buy) bool { return b.Start > after && b.Status == http.StatusAccepted && !b.Replayed })
	})
}

// credited says whether a payment, and no repeat, was credited that began after
// a moment.
func (t *trial) credited(after time.Duration) bool {
	return t.among(func(h history.History) bool {
		return slices.ContainsFunc(h.Pays, func(p history.Pay) bool { return p.Start > after && p.Status == http.StatusOK && !p.Replayed })
	})
}

// completed says whether a purchase was completed at once that began after a moment.
func (t *trial) completed(after time.Duration) bool {
	return t.among(func(h history.History) bool {
		return slices.ContainsFunc(h.Buys, func(b history.Buy) bool { return b.Start > after && b.Status == http.StatusCreated && !b.Replayed })
	})
}

func (t *trial) among(f func(history.History) bool) bool { return f(t.rec.History()) }

// natsAway checks what the shop promises while NATS is down: purchases are
// taken and completed later; payments, lists and logins go on.
func (t *trial) natsAway(ctx context.Context) error {
	away := t.rec.Now()
	if err := t.promise(ctx, "a purchase is answered 202 while NATS is away", func() bool { return t.boughtLater(away) }); err != nil {
		return err
	}
	if err := t.promise(ctx, "a payment is credited while NATS is away", func() bool { return t.credited(away) }); err != nil {
		return err
	}
	if err := t.lists(ctx, "/products", "/bills", "/purchases", "/transactions"); err != nil {
		return fmt.Errorf("NATS is away and %w", err)
	}
	if err := t.accounts.LogIn(ctx, t.rec, t.accounts.Buyers[0]); err != nil && !t.mixed {
		return fmt.Errorf("NATS is away and a buyer can't log in: %w", err)
	}
	return nil
}

// lists checks that a buyer can read, which is promised too.
func (t *trial) lists(ctx context.Context, paths ...string) error {
	if t.mixed {
		return nil
	}
	for _, path := range paths {
		if got := status(ctx, t.GatewayURL()+path, t.accounts.Buyers[0].Token()); got != http.StatusOK {
			return fmt.Errorf("GET %s is answered %d", path, got)
		}
	}
	return nil
}

// databaseAway checks what the shop promises while Postgres is down: 503 with
// Retry-After, /livez up, /readyz honest.
func (t *trial) databaseAway(ctx context.Context) error {
	away := t.rec.Now()
	err := t.promise(ctx, "a purchase is answered 503 with Retry-After while the database is away", func() bool {
		return t.among(func(h history.History) bool {
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
			return fmt.Errorf("the database is away, and a request (%s) is answered %d %s, Retry-After %v", what, c.Status, c.Code, c.RetryAfter)
		}
	}
	return t.everyReplica(func(r *stack.Replica) error {
		if got := status(ctx, r.InternalURL()+"/livez", ""); got != http.StatusOK {
			return fmt.Errorf("%s: /livez says %d while the database is away", r.Name, got)
		}
		if got := status(ctx, r.InternalURL()+"/readyz", ""); got != http.StatusServiceUnavailable {
			return fmt.Errorf("%s: /readyz says %d while the database is away", r.Name, got)
		}
		return nil
	})
}
