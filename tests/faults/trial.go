package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"lavka/tests/faults/books"
	"lavka/tests/faults/check"
	"lavka/tests/faults/history"
	"lavka/tests/faults/load"
)

// fault is a row of the table: a way to break the shop.
type fault struct {
	name  string
	story string // what happens, in a few words
	kind  string // of shop that it needs; "" means the usual one
	// prepare is called before the load, if it is not nil.
	prepare func(context.Context, *trial) error
	// strike breaks something, heals it, and returns when it is healed. It
	// returns an error if the shop breaks a promise.
	strike func(context.Context, *trial) error
	// part names what the fault takes from the whole shop, if anything. Two faults
	// with the same part would interfere, and are not mixed.
	part string
	// mix is the load during the fault; the zero value means the usual one.
	mix load.Mix
	// blind marks faults that delay changes of users: a disabled user may keep
	// access for longer.
	blind bool
	// forgets marks crashes of the database: catalog may lose answers, and gets
	// them again.
	forgets bool
	// kills are the services whose processes the fault ends. No other process may
	// end: services must recover without a restart.
	kills []string
	// alone marks faults that are not mixed with others. spoils marks faults after
	// which the shop can't be reused.
	alone, spoils bool
}

// The limits that the shop promises.
const (
	definiteIn = 30 * time.Second // from healing until every outcome is known
	revokedIn  = time.Second
)

// trial is one run of a fault, or of several at once.
type trial struct {
	*shop
	r     *rand.Rand
	world *load.World
	long  bool
	mixed bool // with other faults: promises that hold for a single fault are not checked

	hostile *load.Account // the user of the fault hostile-user
}

// span returns how long a fault lasts: short, or long in a long run.
func (t *trial) span(short, long time.Duration) time.Duration {
	if t.long {
		return long
	}
	return short
}

// outcome is the result of a trial.
type outcome struct {
	calls    int
	definite time.Duration // from healing until every outcome was known
	looks    int64         // how often the ledger was checked while in use
	wrong    []check.Violation
}

// add records a violation if err is not nil.
func (o *outcome) add(invariant string, err error) {
	if err != nil {
		o.wrong = append(o.wrong, check.Violation{Invariant: invariant, What: err.Error()})
	}
}

// try breaks a shop under load in the given ways, and checks the result. An error
// means that the trial itself failed.
func (s *shop) try(ctx context.Context, seed uint64, long bool, faults ...fault) (o outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	t := &trial{shop: s, r: rand.New(rand.NewPCG(seed, 0)), long: long, mixed: len(faults) > 1}
	t.world, err = s.newWorld(ctx, seed)
	if errors.Is(err, load.ErrUnknownUser) {
		o.add("j", err)
		return o, nil
	}
	if err != nil {
		return o, err
	}
	for _, f := range faults {
		if f.prepare == nil {
			continue
		}
		if err := f.prepare(ctx, t); err != nil {
			return o, fmt.Errorf("prepare %s: %w", f.name, err)
		}
	}
	from, to := t.world.Range()
	watcher := books.Watch(ctx, s.AdminDatabaseURL(), from, to)

	mix, opts := load.Usual, check.Options{RevocationLimit: revokedIn, Expiry: s.expiry, BadTokens: s.wrongClocks}
	var kills []string
	for _, f := range faults {
		if f.mix != (load.Mix{}) {
			mix = f.mix
		}
		if f.blind {
			opts.RevocationLimit = 0
		}
		kills = append(kills, f.kills...)
		opts.CatalogForgets = opts.CatalogForgets || f.forgets
	}
	processes := s.pids(kills)
	loaded, unload := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { t.world.Run(loaded, mix) })
	healed, struck := t.strikeAll(ctx, faults)
	unload()
	running.Wait()

	t.settle(ctx, healed, &o)
	o.add("promise", struck)
	if now := s.pids(kills); !maps.Equal(now, processes) {
		o.add("promise", fmt.Errorf("services exited that the fault did not kill: process ids were %v and are %v", processes, now))
	}
	var unbalanced []string
	o.looks, unbalanced = watcher.Stop()
	for _, what := range unbalanced {
		o.add("e", errors.New("while in use: "+what))
	}
	for _, what := range watcher.Stock() {
		o.add("p", errors.New("while in use: "+what))
	}
	err = t.judge(ctx, opts, &o)
	return o, err
}

// settle waits until every outcome is known, at most definiteIn after healing.
func (t *trial) settle(ctx context.Context, healed time.Time, o *outcome) {
	ctx, cancel := context.WithDeadline(ctx, healed.Add(definiteIn))
	defer cancel()
	late := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%v after the faults healed: %w", definiteIn, err)
	}
	o.add("promise", late(t.everyReplicaServes(ctx)))
	o.add("c", late(t.world.Finish(ctx)))
	o.add("c", late(t.atRest(ctx)))
	o.definite = time.Since(healed)
}

// judge compares the answers with the databases.
func (t *trial) judge(ctx context.Context, opts check.Options, o *outcome) error {
	from, to := t.world.Range()
	b, err := books.Read(ctx, t.AdminDatabaseURL(), from, to)
	if err != nil {
		return err
	}
	if o.looks == 0 {
		o.add("e", errors.New("the ledger could not be checked while it was in use"))
	}
	h := t.rec.History().Within(from, to)
	o.calls = calls(h)
	opts.ReadsFrom = t.failedOver
	o.wrong = append(o.wrong, check.Check(h, b, opts)...)
	o.add("i", t.verify(ctx))
	o.add("output", t.complaints())
	return nil
}

// strikeAll applies all faults at once, with load before and after, and returns
// when they were healed.
func (t *trial) strikeAll(ctx context.Context, faults []fault) (healed time.Time, err error) {
	if err := last(ctx, t.span(500*time.Millisecond, time.Second)); err != nil {
		return time.Now(), err
	}
	errs := make([]error, len(faults))
	var all sync.WaitGroup
	for i, f := range faults {
		own := *t
		own.r = rand.New(rand.NewPCG(t.r.Uint64(), uint64(i)))
		all.Go(func() { errs[i] = f.strike(ctx, &own) })
	}
	all.Wait()
	healed = time.Now()
	if err := t.awaitReady(ctx); err != nil {
		errs = append(errs, err)
	}
	return healed, errors.Join(append(errs, last(ctx, t.span(500*time.Millisecond, 2*time.Second)))...)
}

// atRest waits until no purchase and no refund is pending, and billing's users match auth's.
func (t *trial) atRest(ctx context.Context) error {
	from, to := t.world.Range()
	wrong := errors.New("no time was left to check for pending purchases")
	for {
		pending, err := value[int](ctx, t.shop, `
			SELECT (SELECT count(*) FROM catalog.purchases WHERE status = 'pending' AND bill_id >= $1 AND bill_id < $2)
				+ (SELECT count(*) FROM catalog.refunds WHERE status = 'pending' AND bill_id >= $1 AND bill_id < $2)`, from, to)
		var late int
		if err == nil {
			late, err = value[int](ctx, t.shop, `SELECT count(*) FROM auth.users u LEFT JOIN billing.customers c ON c.user_id = u.id WHERE c.version IS DISTINCT FROM u.version`)
		}
		switch {
		case err == nil && pending+late == 0:
			return nil
		case err == nil:
			wrong = fmt.Errorf("%d purchases or refunds are pending and %d users differ between billing and auth", pending, late)
		case ctx.Err() == nil:
			wrong = err
		}
		if last(ctx, 100*time.Millisecond) != nil {
			return wrong
		}
	}
}

func calls(h history.History) (n int) {
	for range h.Calls() {
		n++
	}
	return n
}
