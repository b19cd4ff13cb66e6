package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lavka/deploy/local/stack"
	"lavka/libs/contract/wire"
	"lavka/tests/faults/history"
	"lavka/tests/faults/load"
	"lavka/tests/faults/variant"
)

// faults returns all faults: the rows of the table.
func (h *harness) faults() []fault {
	var all []fault
	for _, some := range [][]fault{processFaults(), natsFaults(), brokerFaults(), postgresFaults(), networkFaults(), specialFaults()} {
		all = append(all, some...)
	}
	for i := range all {
		if len(all[i].kills) > 0 && all[i].part == "" {
			all[i].part = "processes"
		}
	}
	return all
}

// kind returns the kind of shop with that name, and builds the binaries it needs.
func (h *harness) kind(name string) (kind, error) {
	k := kind{name: name}
	switch name {
	case "": // the usual one
	case "hasty":
		k.env, k.expiry = map[string]string{"PURCHASE_WAIT": "30ms"}, 3*time.Second
	case "clocks":
		k.clocks = true
		v, err := variant.WithClock()
		if err != nil {
			return k, err
		}
		k.bin = filepath.Join(h.work, "clocks")
		if err := variant.Build(context.Background(), h.root, h.plain, k.bin, v, stack.Services()...); err != nil {
			return k, err
		}
		off := func(d time.Duration) map[string]string {
			return map[string]string{variant.ClockOff: strconv.Itoa(int(d.Seconds()))}
		}
		k.replica = map[string]map[string]string{
			"auth-2": off(-time.Hour), "catalog-2": off(-time.Hour), "billing-2": off(-time.Hour), "billing-1": off(time.Hour),
		}
	case "broker":
		k.broker = true
	case "small-disk":
		k.change = func(cfg *stack.Config) {
			cfg.PostgresSettings = map[string]string{"max_wal_size": "64MB", "min_wal_size": "32MB"}
		}
		k.disk = 400
	default:
		return k, fmt.Errorf("unknown kind of shop %q", name)
	}
	return k, nil
}

// specialFaults need another kind of shop, or another load.
func specialFaults() []fault {
	return []fault{
		{
			name: "quiet", story: "nothing is broken", alone: true,
			strike: func(ctx context.Context, t *trial) error {
				since := t.rec.Now()
				err := last(ctx, t.span(3*time.Second, 10*time.Second))
				return errors.Join(err,
					t.promise(ctx, "a purchase completed", func() bool { return t.completed(since) }),
					t.promise(ctx, "a payment credited", func() bool { return t.credited(since) }),
					t.promise(ctx, "a user disabled", func() bool {
						return t.rec.Reached(func(h history.History) bool {
							return slices.ContainsFunc(h.Switches, func(s history.Switch) bool { return s.Start > since && !s.Enabled && s.Status == http.StatusOK })
						})
					}))
			},
		},
		{
			name: "redelivery", story: "billing and catalog are killed inside a group: only NATS still has the request, and redelivers it", alone: true, kills: []string{stack.Billing, stack.Catalog}, blind: true,
			mix: load.Mix{Buyers: 1}, strike: redelivery,
		},
		{
			name: "failover", story: "the primary is lost for good and a synchronous standby replaces it, after commits waited for the standby", alone: true, blind: true, forgets: true, spoils: true,
			strike: failover,
		},
		{
			name: "key-for-a-minute", story: "eight clients send the same Idempotency-Key for a minute (4 s) while replicas are killed", blind: true, kills: []string{stack.Billing, stack.Catalog},
			strike: keyForAMinute,
		},
		{
			name: "sweeper-races", story: "the sweeper resends while the first request is still in flight (PURCHASE_WAIT 30 ms)", kind: "hasty", alone: true,
			strike: func(ctx context.Context, t *trial) error {
				before := t.counted(ctx, stack.Catalog, "catalog_purchases_resent_total")
				err := last(ctx, t.span(3*time.Second, 20*time.Second))
				return errors.Join(err, t.promise(ctx, "a purchase resent by the sweeper", func() bool {
					return t.counted(ctx, stack.Catalog, "catalog_purchases_resent_total") > before
				}))
			},
		},
		{
			name: "billing-down-past-expiry", story: "billing down until purchases have expired (PURCHASE_EXPIRY 3 s), and NATS has forgotten them: only the sweeper can end them", kind: "hasty", alone: true, kills: []string{stack.Billing},
			strike: func(ctx context.Context, t *trial) error {
				err := t.everyReplica((*stack.Replica).Crash, stack.Billing)
				err = errors.Join(err, last(ctx, t.span(4*time.Second, 20*time.Second)))
				err = errors.Join(err, t.operate(ctx, func(ctx context.Context, js jetstream.JetStream) error {
					requests, err := js.Stream(ctx, wire.StreamPurchases)
					if err != nil {
						return err
					}
					return requests.Purge(ctx)
				}))
				err = errors.Join(err, t.everyReplica(func(r *stack.Replica) error { return r.Start(ctx) }, stack.Billing))
				from, to := t.world.Range()
				return errors.Join(err, t.promise(ctx, "a charge declined as expired", func() bool {
					n, err := value[int](ctx, t.shop, `SELECT count(*) FROM billing.charges WHERE outcome = 'expired' AND bill_id >= $1 AND bill_id < $2`, from, to)
					return err == nil && n > 0
				}))
			},
		},
		{
			name: "clocks-off", story: "the wall clocks of replicas are an hour ahead or behind; of billing's two, one each way", kind: "clocks", blind: true, alone: true,
			strike: func(ctx context.Context, t *trial) error { return last(ctx, t.span(3*time.Second, 20*time.Second)) },
		},
		{
			name: "webhook-alone", story: "auth, catalog and NATS are all down: payments are credited", alone: true, kills: []string{stack.Auth, stack.Catalog}, blind: true,
			strike: webhookAlone,
		},
		{
			name: "overload", story: "twice as many purchases as the shop can process, for 30 s (4 s): each gets a response, with 503 and Retry-After if necessary", alone: true, blind: true,
			strike: overload,
		},
		{
			name: "hostile-user", story: "one user with a million purchases and payments (200,000) sends searches and filtered lists over 500 connections for 30 s (4 s): every replica stays ready, and no other user is refused", alone: true, blind: true, spoils: true,
			prepare: addHostileUser, strike: hostileUser,
		},
	}
}

// keyForAMinute has eight clients send the same key for a minute (4 s in a short
// run) while replicas are killed.
func keyForAMinute(ctx context.Context, t *trial) error {
	asking, stop := context.WithTimeout(ctx, t.span(4*time.Second, time.Minute))
	defer stop()
	var clients sync.WaitGroup
	t.world.SameKey(asking, 8, clients.Go)
	var err error
	for asking.Err() == nil && err == nil {
		service := []string{stack.Billing, stack.Catalog}[t.r.IntN(2)]
		err = t.crash(ctx, t.one(service))
		if err == nil {
			err = last(ctx, t.span(500*time.Millisecond, 5*time.Second))
		}
	}
	clients.Wait()
	return err
}

// redelivery kills billing and catalog so that only NATS still has a request.
func redelivery(ctx context.Context, t *trial) error {
	if err := t.arm(variant.BillingLocked, "kill"); err != nil {
		return err
	}
	if _, err := t.reached(ctx, variant.BillingLocked); err != nil {
		return err
	}
	if err := t.everyReplica((*stack.Replica).Crash, stack.Catalog); err != nil {
		return err
	}
	broken := t.promise(ctx, "billing's decision on a redelivered request while catalog is down", func() bool {
		open, err := value[int](ctx, t.shop, `
			SELECT count(*) FROM catalog.purchases p WHERE status = 'pending' AND NOT EXISTS (SELECT FROM billing.charges c WHERE c.purchase_id = p.id)`)
		return err == nil && open == 0
	})
	return errors.Join(broken, t.everyReplica(func(r *stack.Replica) error { return r.Start(ctx) }, stack.Catalog))
}

// webhookAlone stops everything that billing uses except its database.
func webhookAlone(ctx context.Context, t *trial) error {
	err := t.everyReplica((*stack.Replica).Crash, stack.Auth, stack.Catalog)
	t.NATS().Stop()
	alone := t.rec.Now()
	broken := t.promise(ctx, "a payment credited while auth, catalog and NATS are down", func() bool { return t.credited(alone) })
	err = errors.Join(err, last(ctx, t.span(time.Second, 10*time.Second)), t.NATS().Start())
	// Auth first: the others fetch its keys when they start.
	for _, service := range []string{stack.Auth, stack.Catalog} {
		err = errors.Join(err, t.everyReplica(func(r *stack.Replica) error { return r.Start(ctx) }, service))
	}
	return errors.Join(broken, err)
}

// overload measures how many purchases a second the shop can process, and sends
// twice as many.
func overload(ctx context.Context, t *trial) error {
	const maxMemory = 1500 // MiB; with the race detector a service uses five to ten times its usual memory
	before := t.most(ctx)
	storming, calm := context.WithTimeout(ctx, t.span(4*time.Second, 30*time.Second))
	defer calm()
	begin := t.rec.Now()
	sent := t.world.Storm(storming, 2*before)
	span := t.span(4*time.Second, 30*time.Second).Seconds()
	if float64(sent)/span < 1.5*before {
		return fmt.Errorf("the shop was not overloaded: %.0f purchases a second were sent, and it can process %.0f", float64(sent)/span, before)
	}
	end := t.rec.Now()
	for _, b := range t.rec.History().Buys {
		switch {
		case b.Start < begin || b.Start > end:
		case b.Status == 0:
			return fmt.Errorf("under overload a purchase got no response within %v: %s", b.End-b.Start, b.Failure)
		case b.Status == http.StatusServiceUnavailable && !b.RetryAfter, b.Status >= 500 && b.Status != http.StatusServiceUnavailable:
			return fmt.Errorf("under overload a purchase was answered %d %s, Retry-After %v", b.Status, b.Code, b.RetryAfter)
		}
	}
	err := t.everyReplica(func(r *stack.Replica) error {
		mib, err := memory(ctx, r.PID())
		if err != nil {
			return err
		}
		if mib > maxMemory {
			return fmt.Errorf("%s uses %d MiB after an overload; the limit is %d MiB", r.Name, mib, maxMemory)
		}
		return nil
	})
	var after float64
	if normal := await(ctx, "at least half the rate of purchases before the overload", func() bool {
		after = t.most(ctx)
		return after >= before/2
	}); normal != nil {
		err = errors.Join(err, fmt.Errorf("%w: %.0f purchases a second, %.0f before", normal, after, before))
	}
	return err
}

// most measures how many purchases a second the shop processes.
func (t *trial) most(ctx context.Context) float64 {
	trying, stop := context.WithTimeout(ctx, t.span(2*time.Second, 5*time.Second))
	defer stop()
	begin := t.rec.Now()
	t.world.Run(trying, load.Mix{Buyers: 64})
	done, span := 0, t.rec.Now()-begin
	for _, b := range t.rec.History().Buys {
		if b.Start > begin && b.Answered() && b.Status < 500 {
			done++
		}
	}
	return float64(done) / span.Seconds()
}

// errNotHere means that a fault can't be tried on this machine.
var errNotHere = errors.New("not possible on this machine")

// mount mounts a tmpfs of mib MiB at a directory. It needs root.
func mount(dir string, mib int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib))
	if errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("%w: only root can mount a tmpfs", errNotHere)
	}
	if err != nil {
		return fmt.Errorf("mount a tmpfs of %d MiB: %w", mib, err)
	}
	return nil
}
