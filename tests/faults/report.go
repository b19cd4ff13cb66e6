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

// row is the result of all trials of one fault.
type row struct {
	story         string
	trials, calls int
	looks         int64
	slowest       time.Duration
	wrong         []string
}

// table is the result of all trials.
type table struct {
	mu    sync.Mutex
	names []string
	rows  map[string]*row
}

func (t *table) add(p plan, o outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	name, story := p.row()
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
		r.wrong = append(r.wrong, fmt.Sprintf("make faults CASE=%s SEED=%d%s: %s", p.name(), p.seed, p.long, v))
	}
}

// leaveOut prints that a fault was not tried, and marks its row in the table.
func (t *table) leaveOut(p plan, why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	name, story := p.row()
	if t.rows[name] == nil {
		t.names = append(t.names, name)
	}
	t.rows[name] = &row{story: fmt.Sprintf("**NOT TRIED** (%v): %s", why, story)}
	fmt.Printf("%-28s NOT TRIED: %v\n", name, why)
}

// String is the table in Markdown.
func (t *table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	b.WriteString("| fault | what happens | trials | calls | ledger checks | slowest outcome | violations |\n|---|---|---|---|---|---|---|\n")
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
		if wrong := t.rows[name].wrong; len(wrong) > 0 {
			errs = append(errs, fmt.Errorf("%s: %d violations\n\t%s", name, len(wrong), strings.Join(wrong, "\n\t")))
		}
	}
	return errors.Join(errs...)
}

// plan is one trial to run.
type plan struct {
	seed   uint64
	faults []fault
	long   string // " MINUTES=1" in a long run, in which faults last longer
}

// name is the value of -case that reproduces the faults.
func (p plan) name() string {
	var names []string
	for _, f := range p.faults {
		names = append(names, f.name)
	}
	return strings.Join(names, "+")
}

// row returns the name and story of the table row that the plan belongs to.
func (p plan) row() (name, story string) {
	if len(p.faults) == 1 {
		return p.faults[0].name, p.faults[0].story
	}
	return fmt.Sprintf("mix of %d", len(p.faults)), "several of the others at the same time, drawn at random"
}

// atOnce is how many trials run at a time. A shop takes more than a gigabyte of memory.
func atOnce() int { return runtime.NumCPU() }

// tryFaults runs the trials, atOnce at a time.
func (h *harness) tryFaults(ctx context.Context) error {
	rounds, err := h.rounds()
	if err != nil {
		return err
	}
	fmt.Printf("seed %d: %d faults\n", h.seed, len(rounds))
	t := &table{rows: map[string]*row{}}
	plans := make(chan plan)
	begin := time.Now()
	go func() {
		defer close(plans)
		h.draw(ctx, rounds, plans)
	}()
	workers := min(atOnce(), len(rounds))
	errs := make([]error, workers)
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() { errs[i] = h.takePlans(ctx, plans, t) })
	}
	all.Wait()
	fmt.Printf("\n%s\nseed %d, %v\n", t, h.seed, time.Since(begin).Round(time.Second))
	return errors.Join(append(errs, t.failure())...)
}

// rounds returns the faults or mixes that are each tried once per round.
func (h *harness) rounds() ([][]fault, error) {
	var rounds [][]fault
	if strings.Contains(h.only, "+") {
		var mix []fault
		for name := range strings.SplitSeq(h.only, "+") {
			f, err := h.find(name)
			if err != nil {
				return nil, err
			}
			mix = append(mix, f)
		}
		return append(rounds, mix), nil
	}
	for _, f := range h.faults() {
		if h.wanted(f.name) {
			rounds = append(rounds, []fault{f})
		}
	}
	if rounds == nil {
		_, err := h.find(h.only)
		return nil, err
	}
	// Faults that need the same kind of shop run in a row, so that few shops are started.
	slices.SortStableFunc(rounds, func(a, b []fault) int { return strings.Compare(a[0].kind, b[0].kind) })
	return rounds, nil
}

// draw sends each fault once and then, in a long run, again and in mixes until
// the time is over. The first trial uses the run's own seed.
func (h *harness) draw(ctx context.Context, rounds [][]fault, plans chan<- plan) {
	r := rand.New(rand.NewPCG(h.seed, 1))
	end := time.Now().Add(h.limit)
	seed, long := h.seed, ""
	if h.limit > 0 {
		long = " MINUTES=1"
	}
	send := func(faults []fault) bool {
		select {
		case plans <- plan{seed, faults, long}:
			seed++
			return ctx.Err() == nil
		case <-ctx.Done():
			return false
		}
	}
	var mixable []fault
	for _, faults := range rounds {
		if f := faults[0]; !f.alone && f.kind == "" {
			mixable = append(mixable, f)
		}
	}
	for round := 0; round == 0 || time.Now().Before(end); round++ {
		for _, faults := range rounds {
			if round > 0 && time.Now().After(end) || !send(faults) {
				return
			}
			if h.limit == 0 || r.IntN(2) == 0 {
				continue
			}
			if mix := mixOf(r, mixable, 2+r.IntN(2)); len(mix) > 1 && !send(mix) {
				return
			}
		}
	}
}

// mixOf draws up to n faults, no two with the same part.
func mixOf(r *rand.Rand, faults []fault, n int) (mix []fault) {
	taken := map[string]bool{}
	for _, i := range r.Perm(len(faults)) {
		f := faults[i]
		if len(mix) < n && (f.part == "" || !taken[f.part]) {
			mix = append(mix, f)
			taken[f.part] = true
		}
	}
	return mix
}

// takePlans runs one trial after another. It reuses a shop as long as the next
// trial needs the same kind and nothing is wrong with the shop.
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
			if errors.Is(kindErr, errNotHere) {
				t.leaveOut(p, kindErr)
				continue
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
		t.add(p, o)
		fmt.Printf("%-28s seed %-7d %6d calls, all outcomes known after %5.1f s, %5.1f s in total\n",
			p.name(), p.seed, o.calls, o.definite.Seconds(), time.Since(begin).Seconds())
		for _, v := range o.wrong {
			fmt.Println("    VIOLATION", v)
		}
		if h.keep && len(o.wrong) > 0 {
			fmt.Println("    the shop's output is in", s.output.Name())
		}
		if len(o.wrong) > 0 || p.faults[0].spoils {
			end() // the next trial gets a new shop
		}
	}
	return err
}
