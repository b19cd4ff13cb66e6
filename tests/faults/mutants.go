package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"lavka/tests/faults/check"
	"lavka/tests/faults/variant"
)

// caught maps each mutant to the fault under which it must be caught, and the
// invariants that may catch it: one of them is enough.
var caught = map[string]struct {
	under string
	by    []string
}{
	"charge-before-lookup":    {"messages-mixed", []string{"c"}},
	"answer-before-commit":    {"kill-all-billing", []string{"a", "f"}}, // f: an answer that was lost is given to another payment with its id
	"skip-bill-lock":          {"quiet", []string{"e", "i"}},
	"lose-an-item":            {"quiet", []string{"a"}},
	"ack-before-commit":       {"redelivery", []string{"promise"}},
	"forget-sweeper":          {"nats-away", []string{"c"}},
	"sweep-no-expired":        {"billing-down-past-expiry", []string{"c"}},
	"credit-a-replay":         {"quiet", []string{"e", "i"}},
	"stale-user":              {"messages-delayed", []string{"j", "c"}},
	"repeat-before-lock":      {"failover", []string{"a"}},
	"conflict-do-nothing":     {"quiet", []string{"e", "i"}},
	"published-unsaid":        {"quiet", []string{"j", "c"}},
	"refund-without-earlier":  {"quiet", []string{"k"}},
	"refund-to-another-bill":  {"quiet", []string{"k"}},
	"refund-charged":          {"quiet", []string{"k"}},
	"reversal-not-cumulative": {"quiet", []string{"l"}},
	"stock-back-twice":        {"messages-mixed", []string{"p"}},
	"stock-taken-afterwards":  {"quiet", []string{"p"}},
	"search-as-short-read":    {"hostile-user", []string{"promise"}},
	"log-afterwards":          {"kill-all-catalog", []string{"n"}},
	"complete-by-the-clock":   {"commits-held", []string{"o"}},
	"reset-link-twice":        {"quiet", []string{"q"}},
	"ended-session-token":     {"quiet", []string{"q"}},
}

// tries is the number of trials in which a mutant must be caught once: a bug that
// depends on the order of events does not show every time.
const tries = 12

// tryMutants checks that each broken service is caught, atOnce at a time. First come
// those that take the longest: they are caught because an outcome does not become
// known within definiteIn.
func (h *harness) tryMutants(ctx context.Context) error {
	begin := time.Now()
	mutants := slices.DeleteFunc(variant.Mutants(), func(m variant.Mutant) bool { return !h.wanted(m.Name) })
	if len(mutants) == 0 {
		return fmt.Errorf("unknown mutant %q", h.only)
	}
	slices.SortStableFunc(mutants, func(a, b variant.Mutant) int { return cmp.Compare(waits(b), waits(a)) })
	rows, errs := make([]string, len(mutants)), make([]error, len(mutants))
	slots := make(chan struct{}, atOnce())
	var all sync.WaitGroup
	for i, m := range mutants {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			by, n, err := h.tryMutant(ctx, m, h.seed+uint64(i))
			if err != nil {
				errs[i] = fmt.Errorf("mutant %s: %w", m.Name, err)
				by = "NOT CAUGHT"
			}
			fmt.Printf("%-24s %v\n", m.Name, cmp.Or(errs[i], errors.New(by)))
			rows[i] = fmt.Sprintf("| %s | %s | %s | %s | %d |", m.Name, m.Breaks, caught[m.Name].under, by, n)
		})
	}
	all.Wait()
	fmt.Printf("\n| mutant | what it does | fault | caught by | trial |\n|---|---|---|---|---|\n%s\n\nseed %d, %v\n",
		strings.Join(rows, "\n"), h.seed, time.Since(begin).Round(time.Second))
	return errors.Join(errs...)
}

// waits is 1 for a mutant that is caught by an outcome that does not become known,
// and otherwise 0.
func waits(m variant.Mutant) int {
	if slices.Contains(caught[m.Name].by, "c") {
		return 1
	}
	return 0
}

func (h *harness) tryMutant(ctx context.Context, m variant.Mutant, seed uint64) (by string, n int, err error) {
	out := filepath.Join(h.work, m.Name)
	m.Race = true
	services := []string{m.Service}
	if m.Also != "" {
		services = append(services, m.Also)
	}
	if err := variant.Build(ctx, h.root, h.points, out, m.Variant, services...); err != nil {
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
	for n = 1; n <= tries; n++ {
		o, err := h.tryOnce(ctx, k, seed+uint64(n), f)
		if err != nil {
			return "", n, err
		}
		if v, ok := firstOf(o.wrong, want.by); ok {
			return oneLine(v.String()), n, nil
		}
		if len(o.wrong) > 0 {
			return "", n, fmt.Errorf("caught by invariants other than %v: %v", want.by, o.wrong)
		}
	}
	return "", tries, fmt.Errorf("it was not caught in %d trials", tries)
}

// tryOnce runs one trial in a shop of its own: some faults leave a shop that can't
// be broken in the same way again.
func (h *harness) tryOnce(ctx context.Context, k kind, seed uint64, f fault) (o outcome, err error) {
	s, err := h.startShop(ctx, k)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	return s.try(ctx, seed, false, f)
}

// oneLine returns the first line of a text, to fit into a table.
func oneLine(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return first
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
	return fault{}, fmt.Errorf("unknown fault %q; the faults are: %s", name, strings.Join(names, ", "))
}
