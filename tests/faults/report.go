package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// row is what has come of all trials of one fault.
type row struct {
	story         string
	trials, calls int
	looks         int64
	slowest       time.Duration
	wrong         []string
}

// table is what has come of everything.
type table struct {
	mu    sync.Mutex
	names []string
	rows  map[string]*row
}

func (t *table) add(name, story string, seed uint64, o outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rows[name]
	if r == nil {
		r = &row{story: story}
		t.rows[name] = r
		t.names = append(t.names, name)
	}
	r.trials++
	r.calls += o.calls
	r.looks += o.looks
	r.slowest = max(r.slowest, o.definite)
	for _, v := range o.wrong {
		r.wrong = append(r.wrong, fmt.Sprintf("seed %d: %s", seed, v))
	}
}

// String is the table in Markdown.
func (t *table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	b.WriteString("| fault | what is done | trials | calls | looks at the ledger | slowest outcome | violations |\n|---|---|---|---|---|---|---|\n")
	slices.Sort(t.names)
	var trials, calls, wrong int
	for _, name := range t.names {
		r := t.rows[name]
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %.1f s | %d |\n", name, r.story, r.trials, r.calls, r.looks, r.slowest.Seconds(), len(r.wrong))
		trials, calls, wrong = trials+r.trials, calls+r.calls, wrong+len(r.wrong)
	}
	fmt.Fprintf(&b, "| **all** | | %d | %d | | | %d |\n", trials, calls, wrong)
	return b.String()
}

func (t *table) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, name := range t.names {
		if n := len(t.rows[name].wrong); n > 0 {
			errs = append(errs, fmt.Errorf("%s: %d violations", name, n))
		}
	}
	return errors.Join(errs...)
}

// plan is one trial that is to be made.
type plan struct {
	seed   uint64
	faults []fault
}

func (p plan) name() string {
	if len(p.faults) == 1 {
		return p.faults[0].name
	}
	return fmt.Sprintf("mix of %d", len(p.faults))
}

func (p plan) story() string {
	if len(p.faults) == 1 {
		return p.faults[0].story
	}
	return "several of the others at the same time, drawn at random"
}

// tryFaults makes trials, as many at a time as there are processors.
func (h *harness) tryFaults(ctx context.Context) error {
	faults := h.faults()
	faults = slices.DeleteFunc(faults, func(f fault) bool { return !h.wanted(f.name) })
	if len(faults) == 0 {
		return fmt.Errorf("there is no fault %q; there are: %s", h.only, strings.Join(h.names(), ", "))
	}
	fmt.Printf("seed %d: %d faults\n", h.seed, len(faults))
	t := &table{rows: map[string]*row{}}
	plans := make(chan plan)
	begin := time.Now()
	go func() {
		defer close(plans)
		h.draw(ctx, faults, plans)
	}()
	workers := min(runtime.NumCPU(), len(faults))
	errs := make([]error, workers)
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() { errs[i] = h.takePlans(ctx, plans, t) })
	}
	all.Wait()
	fmt.Printf("\n%s\nseed %d, %v\n", t, h.seed, time.Since(begin).Round(time.Second))
	return errors.Join(append(errs, t.failure())...)
}

// draw gives each fault once, and then, in a long run, again and in mixes until
// the time is over.
func (h *harness) draw(ctx context.Context, faults []fault, plans chan<- plan) {
	r := rand.New(rand.NewPCG(h.seed, 1))
	end := time.Now().Add(h.limit)
	send := func(faults ...fault) bool {
		select {
		case plans <- plan{r.Uint64() % 1_000_000, faults}:
			return ctx.Err() == nil
		case <-ctx.Done():
			return false
		}
	}
	mixable := slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return f.alone || f.kind != "" })
	// The same kinds of shops in a row, so that few have to be started.
	slices.SortStableFunc(faults, func(a, b fault) int { return strings.Compare(a.kind, b.kind) })
	for round := 0; round == 0 || time.Now().Before(end); round++ {
		for _, f := range faults {
			if round > 0 && time.Now().After(end) || !send(f) {
				return
			}
			if len(mixable) > 3 && h.limit > 0 && r.IntN(2) == 0 {
				r.Shuffle(len(mixable), func(i, j int) { mixable[i], mixable[j] = mixable[j], mixable[i] })
				if !send(slices.Clone(mixable[:2+r.IntN(2)])...) {
					return
				}
			}
		}
	}
}

// takePlans makes one trial after another, on one shop for as long as that will do.
func (h *harness) takePlans(ctx context.Context, plans <-chan plan, t *table) (err error) {
	var s *shop
	var at string
	end := func() {
		if s != nil {
			err = errors.Join(err, s.stop(), s.complaints())
			s = nil
		}
	}
	defer end()
	for p := range plans {
		kind := p.faults[0].kind
		if s == nil || at != kind {
			end()
			k, kindErr := h.kind(kind)
			if kindErr == nil {
				s, kindErr = h.startShop(ctx, k)
			}
			if kindErr != nil {
				return errors.Join(err, kindErr)
			}
			at = kind
		}
		begin := time.Now()
		o, tryErr := s.try(ctx, p.seed, h.limit > 0, p.faults...)
		if tryErr != nil {
			return errors.Join(err, fmt.Errorf("%s (seed %d): %w\n%s", p.name(), p.seed, tryErr, s.tail()))
		}
		t.add(p.name(), p.story(), p.seed, o)
		fmt.Printf("%-28s seed %-7d %6d calls, all outcomes after %5.1f s, %5.1f s in all\n",
			p.name(), p.seed, o.calls, o.definite.Seconds(), time.Since(begin).Seconds())
		for _, v := range o.wrong {
			fmt.Println("    VIOLATION", v)
		}
		if h.keep && len(o.wrong) > 0 {
			fmt.Println("    the shop's output is in", s.output.Name())
		}
		if len(o.wrong) > 0 || p.faults[0].spoils {
			end() // the next one gets a shop that nothing is wrong with
		}
	}
	return err
}

func (h *harness) names() []string {
	var names []string
	for _, f := range h.faults() {
		names = append(names, f.name)
	}
	return names
}
