package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lavka/tests/faults/check"
	"lavka/tests/faults/variant"
)

// caught says under which faults each mutant must be noticed, and by which
// invariants: one of them is enough.
var caught = map[string]struct {
	under string
	by    []string
}{
	"charge-before-lookup": {"messages-mixed", []string{"c"}},
	"answer-before-commit": {"kill-all-billing", []string{"a"}},
	"skip-bill-lock":       {"quiet", []string{"e", "i"}},
	"lose-an-item":         {"quiet", []string{"a"}},
	"ack-before-commit":    {"redelivery", []string{"promise"}},
	"forget-sweeper":       {"nats-away", []string{"c"}},
	"credit-a-replay":      {"quiet", []string{"e", "i"}},
	"stale-user":           {"messages-delayed", []string{"j", "c"}},
	"repeat-before-lock":   {"failover", []string{"a"}},
	"conflict-do-nothing":  {"quiet", []string{"e", "i"}},
	"published-unsaid":     {"quiet", []string{"j", "c"}},
}

// tries is how often a mutant may get away: what goes wrong only in a certain
// order does not go wrong each time.
const tries = 5

// tryMutants shows that each broken service is caught.
func (h *harness) tryMutants(ctx context.Context) error {
	begin := time.Now()
	var errs []error
	fmt.Println("| mutant | what it does | fault | caught by | tries |\n|---|---|---|---|---|")
	for i, m := range variant.Mutants() {
		if !h.wanted(m.Name) {
			continue
		}
		by, n, err := h.tryMutant(ctx, m, h.seed+uint64(i))
		if err != nil {
			errs = append(errs, fmt.Errorf("mutant %s: %w", m.Name, err))
			by = "NOT CAUGHT"
		}
		fmt.Printf("| %s | %s | %s | %s | %d |\n", m.Name, m.Breaks, caught[m.Name].under, by, n)
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Printf("\nseed %d, %v\n", h.seed, time.Since(begin).Round(time.Second))
	return errors.Join(errs...)
}

func (h *harness) tryMutant(ctx context.Context, m variant.Mutant, seed uint64) (by string, n int, err error) {
	out := filepath.Join(h.work, m.Name)
	m.Race = true
	if err := variant.Build(ctx, h.root, h.points, out, m.Variant, m.Service); err != nil {
		return "", 0, err
	}
	want := caught[m.Name]
	f, err := h.find(want.under)
	if err != nil {
		return "", 0, err
	}
	k, err := h.kind(f.kind)
	if err != nil {
		return "", 0, err
	}
	k.bin = out
	s, err := h.startShop(ctx, k)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	for n = 1; n <= tries; n++ {
		o, err := s.try(ctx, seed+uint64(n), false, f)
		if err != nil {
			return "", n, err
		}
		if v, ok := firstOf(o.wrong, want.by); ok {
			return v.String(), n, nil
		}
		if len(o.wrong) > 0 {
			return "", n, fmt.Errorf("caught by others than %v: %v", want.by, o.wrong)
		}
	}
	return "", tries, fmt.Errorf("it was not caught in %d trials", tries)
}

func firstOf(wrong []check.Violation, letters []string) (check.Violation, bool) {
	for _, v := range wrong {
		if slices.Contains(letters, v.Invariant) {
			return v, true
		}
	}
	return check.Violation{}, false
}

func (h *harness) find(name string) (fault, error) {
	var names []string
	for _, f := range h.faults() {
		if f.name == name {
			return f, nil
		}
		names = append(names, f.name)
	}
	return fault{}, fmt.Errorf("there is no fault %q; there are: %s", name, strings.Join(names, ", "))
}
