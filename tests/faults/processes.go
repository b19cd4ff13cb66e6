package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"lavka/deploy/local/stack"
	"lavka/tests/faults/link"
	"lavka/tests/faults/variant"
)

// processFaults end, freeze and restart the services' processes.
func processFaults() []fault {
	var faults []fault
	for _, service := range stack.Services() {
		faults = append(faults,
			fault{
				name: "kill-" + service, story: "SIGKILL of one replica of " + service + ", twice, at random moments",
				blind: service == stack.Auth, kills: []string{service},
				strike: func(ctx context.Context, t *trial) error {
					for range 2 {
						if err := last(ctx, t.moment()); err != nil {
							return err
						}
						if err := t.crash(ctx, t.one(service)); err != nil {
							return err
						}
					}
					return nil
				},
			},
			fault{
				name: "kill-all-" + service, story: "SIGKILL of all replicas of " + service + "; they stay down for a while",
				blind: service == stack.Auth, kills: []string{service},
				strike: func(ctx context.Context, t *trial) error {
					if err := last(ctx, t.moment()); err != nil {
						return err
					}
					if err := t.everyReplica((*stack.Replica).Crash, service); err != nil {
						return err
					}
					var broken error
					if service == stack.Billing {
						broken = t.billingAway(ctx, t.rec.Now())
					}
					if err := last(ctx, t.span(2*time.Second, 15*time.Second)); err != nil {
						return err
					}
					return errors.Join(broken, t.everyReplica(func(r *stack.Replica) error { return r.Start(ctx) }, service))
				},
			},
			fault{
				name: "freeze-" + service, story: "SIGSTOP of one replica of " + service + " for 20 s (3 s), then SIGCONT",
				blind: true, // a frozen replica receives no revocations
				strike: func(ctx context.Context, t *trial) error {
					r := t.one(service)
					if err := r.Signal(syscall.SIGSTOP); err != nil {
						return err
					}
					if err := last(ctx, t.span(3*time.Second, 20*time.Second)); err != nil {
						return errors.Join(err, r.Signal(syscall.SIGCONT))
					}
					return r.Signal(syscall.SIGCONT)
				},
			},
		)
	}
	serviceOf := func(point string) string {
		service, _, _ := strings.Cut(point, ".")
		return service
	}
	for _, name := range variant.Points() {
		faults = append(faults, fault{
			name: "kill-at-" + strings.ReplaceAll(name, ".", "-"), story: "SIGKILL at " + pointStory[name], blind: strings.HasPrefix(name, stack.Auth) || name == variant.CatalogClaimed, kills: []string{serviceOf(name)},
			strike: func(ctx context.Context, t *trial) error { return t.killAt(ctx, name) },
		})
	}
	return append(faults,
		fault{
			name: "zombie-billing", story: "SIGSTOP of billing in the middle of its transaction, with the bills locked; SIGCONT after 20 s (4 s)", blind: true, alone: true,
			strike: zombie,
		},
		fault{
			name: "rolling-restart", story: "every replica is stopped with SIGTERM and restarted, one after another; no request through the gateway may fail", alone: true, kills: stack.Services(),
			blind: true, strike: rollingRestart,
		},
	)
}

var pointStory = map[string]string{
	variant.AuthChanged:      "auth, after a user was changed and before the change is published",
	variant.AuthPublished:    "auth, after a user was published and before that is recorded",
	variant.CatalogInserted:  "catalog, inside a group: purchases inserted, before the commit",
	variant.CatalogPlaced:    "catalog, between the insert's commit and the sending",
	variant.CatalogClaimed:   "catalog, after the sweeper has claimed purchases and before it sends",
	variant.CatalogAnswered:  "catalog, after billing's answer is written and before the buyer gets the response",
	variant.RefundInserted:   "catalog, inside the transaction of a refund: inserted, before the commit",
	variant.RefundPlaced:     "catalog, between a refund's commit and the sending",
	variant.RefundAnswered:   "catalog, after billing's answer about a refund is written and before the admin gets the response",
	variant.BillingLocked:    "billing, inside a group: bills locked, before the writes",
	variant.BillingWritten:   "billing, inside a group: written, before the commit",
	variant.BillingCommitted: "billing, between the commit and the answers",
	variant.BillingAnswered:  "billing, between the answer and the ack",
}

// one picks a replica.
func (t *trial) one(service string) *stack.Replica {
	replicas := t.Replicas(service)
	return replicas[t.r.IntN(len(replicas))]
}

// moment is a random time below 400 ms, so that a fault strikes at any point of
// the work in flight.
func (t *trial) moment() time.Duration {
	return time.Duration(t.r.Int64N(int64(400 * time.Millisecond)))
}

// crash kills a replica and starts it again.
func (t *trial) crash(ctx context.Context, r *stack.Replica) error {
	if err := r.Crash(); err != nil {
		return err
	}
	return r.Start(ctx)
}

func (t *trial) killAt(ctx context.Context, name string) error {
	if err := t.arm(name, "kill"); err != nil {
		return err
	}
	if name == variant.CatalogClaimed {
		// The sweeper has work only when answers are missing. This cuts billing off from news of users, too.
		deaf := t.natsLines(stack.Billing)
		return errors.Join(deaf.each(func(l *link.Link) error { l.Blackhole(link.Both); return nil }), t.awaitKill(ctx, name), deaf.each((*link.Link).Heal))
	}
	return t.awaitKill(ctx, name)
}

func (t *trial) awaitKill(ctx context.Context, name string) error {
	pid, err := t.reached(ctx, name)
	if err != nil {
		return err
	}
	// The launcher restarts it, as a supervisor does in production.
	return await(ctx, fmt.Sprintf("a new process in place of %d", pid), func() bool {
		_, err := t.byPID(pid)
		return err != nil
	})
}

// zombie freezes a replica of billing while it holds locks on bills. The other
// replica must be able to lock them within the sessions' limits: the server ends
// an idle transaction after 2 s.
func zombie(ctx context.Context, t *trial) error {
	if err := t.arm(variant.BillingLocked, "stop"); err != nil {
		return err
	}
	pid, err := t.reached(ctx, variant.BillingLocked)
	if err != nil {
		return err
	}
	r, err := t.byPID(pid)
	if err != nil {
		return err
	}
	frozen, since := time.Now(), t.rec.Now()
	free := await(ctx, "the release of the frozen replica's locks", func() bool {
		held, err := value[bool](ctx, t.shop, `
			SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'billing ledger%' AND state = 'idle in transaction' AND now() - state_change > interval '1500 ms')`)
		return err == nil && !held && time.Since(frozen) > 1500*time.Millisecond
	})
	if waited := time.Since(frozen); free == nil && waited > 5*time.Second { // the server ends it after 2 s
		free = fmt.Errorf("a frozen replica kept bills locked for %v; the limit is 5s", waited)
	}
	free = errors.Join(free,
		t.promise(ctx, "a payment credited while one replica of billing is frozen", func() bool { return t.credited(since) }),
		t.promise(ctx, "a purchase completed while one replica of billing is frozen", func() bool { return t.completed(since) }))
	err = last(ctx, t.span(4*time.Second, 20*time.Second)-time.Since(frozen))
	return errors.Join(free, err, r.Signal(syscall.SIGCONT))
}

func rollingRestart(ctx context.Context, t *trial) error {
	begin := t.rec.Now()
	for _, service := range stack.Services() {
		for _, r := range t.Replicas(service) {
			stopping := time.Now()
			if err := r.Stop(); err != nil {
				return err
			}
			if took := time.Since(stopping); took > 9*time.Second { // it is killed after 10 s
				return fmt.Errorf("%s took %v to stop; the limit is 9s", r.Name, took)
			}
			if err := r.Start(ctx); err != nil {
				return err
			}
		}
	}
	var failed []string
	for what, c := range t.rec.History().Calls() {
		if c.Start < begin || what == "payment" || what == "access" {
			continue
		}
		if c.Status == 0 || c.Status >= 500 {
			failed = append(failed, fmt.Sprintf("%s: %d %s %s", what, c.Status, c.Code, c.Failure))
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d requests failed, for example: %s", len(failed), strings.Join(failed[:min(3, len(failed))], "; "))
	}
	return nil
}

// billingAway checks what the shop promises while billing is down, since away.
func (t *trial) billingAway(ctx context.Context, away time.Duration) error {
	if err := t.lists(ctx, "/products", "/purchases"); err != nil {
		return fmt.Errorf("while billing is down: %w", err)
	}
	if err := t.accounts.LogIn(ctx, t.rec, t.accounts.Buyers[0]); err != nil && !t.mixed {
		return fmt.Errorf("while billing is down, a buyer can't log in: %w", err)
	}
	return t.promise(ctx, "a purchase answered 202 while billing is down", func() bool { return t.boughtLater(away) })
}
