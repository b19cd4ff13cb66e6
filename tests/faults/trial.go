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

// fault is a row of the table: something that breaks.
type fault struct {
	name  string
	story string // what is done, in a few words
	kind  string // of the shop that it needs; "" means the usual one
	// strike breaks something, heals it, and returns when it is healed. What
	// it calls a broken promise is an error.
	strike func(context.Context, *trial) error
	// part is what the fault takes from everybody, if it does. Two of one part
	// would be in each other's way, and are not mixed.
	part string
	// mix is the load meanwhile; the zero value means the usual one.
	mix load.Mix
	// blind is for faults that keep news of users from arriving in time: then
	// a disabled user may get in for longer.
	blind bool
	// forgets is for crashes of the database: catalog may forget answers, and
	// is told again.
	forgets bool
	// kills are the services whose processes the fault ends. No other may end:
	// what is healed comes back without a restart.
	kills []string
	// alone is not to be mixed with others. What spoils leaves a shop that is
	// no longer like others.
	alone, spoils bool
}

// The limits that the shop promises.
const (
	definiteIn = 30 * time.Second // from healing to every outcome
	revokedIn  = time.Second
)

// trial is one try of a fault, or of several at once.
type trial struct {
	*shop
	r     *rand.Rand
	world *load.World
	long  bool
	mixed bool // with other faults: then what is promised for each of them alone is not asked for
}

// span is how long a fault lasts: the second length in a long run.
func (t *trial) span(short, long time.Duration) time.Duration {
	if t.long {
		return long
	}
	return short
}

// outcome is what came of a trial.
type outcome struct {
	calls    int
	definite time.Duration // from healing until every outcome was known
	looks    int64         // at the ledger, while it was in use
	wrong    []check.Violation
}

// add notes what is wrong, if anything is.
func (o *outcome) add(invariant string, err error) {
	if err != nil {
		o.wrong = append(o.wrong, check.Violation{Invariant: invariant, What: err.Error()})
	}
}

// try lets faults strike a shop under load, and judges. An error means that the
// trial itself failed.
func (s *shop) try(ctx context.Context, seed uint64, long bool, faults ...fault) (o outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	t := &trial{shop: s, r: rand.New(rand.NewPCG(seed, 0)), long: long, mixed: len(faults) > 1}
	t.world, err = s.newWorld(ctx, seed)
	if errors.Is(err, load.ErrUnheardOf) {
		o.add("j", err)
		return o, nil
	}
	if err != nil {
		return o, err
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
		o.add("promise", fmt.Errorf("services have ended that nobody has killed: they were %v and are %v", processes, now))
	}
	var unbalanced []string
	o.looks, unbalanced = watcher.Stop()
	for _, what := range unbalanced {
		o.add("e", errors.New("while in use: "+what))
	}
	err = t.judge(ctx, opts, &o)
	return o, err
}

// settle waits until every outcome is known, which must be soon after healing.
func (t *trial) settle(ctx context.Context, healed time.Time, o *outcome) {
	ctx, cancel := context.WithDeadline(ctx, healed.Add(definiteIn))
	defer cancel()
	late := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%v after healing: %w", definiteIn, err)
	}
	o.add("promise", late(t.everyReplicaServes(ctx)))
	o.add("c", late(t.world.Finish(ctx)))
	o.add("c", late(t.atRest(ctx)))
	o.definite = time.Since(healed)
}

// judge holds what was answered against the books.
func (t *trial) judge(ctx context.Context, opts check.Options, o *outcome) error {
	from, to := t.world.Range()
	b, err := books.Read(ctx, t.AdminDatabaseURL(), from, to)
	if err != nil {
		return err
	}
	if o.looks == 0 {
		o.add("e", errors.New("nobody could look at the ledger while it was in use"))
	}
	h := t.rec.History().Within(from, to)
	o.calls = calls(h)
	opts.ReadsFrom = t.failedOver
	o.wrong = append(o.wrong, check.Check(h, b, opts)...)
	o.add("i", t.verify(ctx))
	o.add("output", t.complaints())
	return nil
}

// strikeAll lets all faults strike at once, under load before and after, and
// says when they were healed.
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

// atRest waits until no purchase is pending, and billing knows the users as
// auth does.
func (t *trial) atRest(ctx context.Context) error {
	from, to := t.world.Range()
	wrong := errors.New("the database does not say whether anything is pending")
	for {
		pending, err := value[int](ctx, t.shop, `SELECT count(*) FROM catalog.purchases WHERE status = 'pending' AND bill_id >= $1 AND bill_id < $2`, from, to)
		var late int
		if err == nil {
			late, err = value[int](ctx, t.shop, `SELECT count(*) FROM auth.users u LEFT JOIN billing.customers c ON c.user_id = u.id WHERE c.version IS DISTINCT FROM u.version`)
		}
		switch {
		case err == nil && pending+late == 0:
			return nil
		case err == nil:
			wrong = fmt.Errorf("%d purchases are pending and billing does not know %d users as they are", pending, late)
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
