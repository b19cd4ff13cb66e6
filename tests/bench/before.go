package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lavka/deploy/local/stack"
)

// turn is how long one of two things is measured before it is the other's turn, if their difference
// is smaller than the noise of one measurement. It is short, so that both see the same neighbours.
const turn = 2 * time.Second

// compare measures another commit's shop and this one's in turns.
func (b *bench) compare(ctx context.Context, commit string) (err error) {
	dir := filepath.Join(b.work, "before")
	if err := buildBefore(ctx, b.root, commit, dir); err != nil {
		return err
	}
	h, err := hostWith(filepath.Join(dir, "host"), dir, nil)
	if err != nil {
		return err
	}
	old := &bench{peak: map[string]float64{}, size: b.size, shop: &shop{hosted: h}}
	defer func() { err = errors.Join(err, old.stop()) }()
	if err := old.seed(ctx, b.size); err != nil {
		return fmt.Errorf("seed the shop of %s: %w", commit, err)
	}
	if err := old.timeFlushes(ctx); err != nil {
		return err
	}
	works := slices.DeleteFunc(slices.Clone(comparisons), func(w work) bool { return !b.wants(w.name) })
	if len(works) == 0 {
		return fmt.Errorf("nothing that is compared is called %s", b.only)
	}
	return b.turnsWith(ctx, old, works, func(w work) (name, target string) { return w.name + ": now / " + commit, "≥ 0.95" })
}

// turnsWith compares works in this shop with the same in another, in turns. row gives the name and the target of their rows.
func (b *bench) turnsWith(ctx context.Context, other *bench, works []work, row func(work) (name, target string)) error {
	usual := b.span
	defer func() { b.span = usual }()
	b.span = min(usual, turn)
	other.span = b.span
	measure := func(b *bench, w work) func() (sample, error) {
		addr := b.addrOf(w)
		return func() (sample, error) { return b.full(ctx, addr, w.clients, w.ask(b.shop, addr)) }
	}
	for _, w := range works {
		name, target := row(w)
		for i := range b.turns {
			theirs, ours, err := inTurns(i, measure(other, w), measure(b, w))
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			b.add(name, target, "", ours.rate()/theirs.rate(), fmt.Sprintf("%s; the other %s", figures(ours), figures(theirs)))
		}
	}
	return nil
}

// inTurns measures both; in every second turn, the second goes first.
func inTurns(turn int, first, second func() (sample, error)) (one, two sample, err error) {
	if turn%2 == 1 {
		two, one, err = inTurns(0, second, first)
		return one, two, err
	}
	if one, err = first(); err != nil {
		return one, two, err
	}
	two, err = second()
	return one, two, err
}

// work is something that a number of clients does at an address.
type work struct {
	name, service string // "" is the gateway
	clients       int
	ask           func(s *shop, addr string) ask
}

func (s *shop) addrOf(w work) string {
	if w.service == "" {
		return s.gateway()
	}
	return s.addr(w.service)
}

func buyAny(s *shop, addr string) ask { return s.purchase(addr, s.anyBill) }

func creditAny(s *shop, addr string) ask { return s.credit(addr, s.anyBill) }

// pageOf is a page of 20 rows.
func pageOf(path string) func(*shop, string) ask {
	return func(s *shop, addr string) ask { return s.get(addr, path+"?limit=20", []byte(`"items"`)) }
}

// comparisons are the rows of compare.
var comparisons = []work{
	{"purchases, all bills", stack.Catalog, inFlight, buyAny},
	{"purchases, one bill", stack.Catalog, inFlight, func(s *shop, addr string) ask { return s.purchase(addr, s.hotBill) }},
	{"purchases with an Idempotency-Key", stack.Catalog, inFlight, func(s *shop, addr string) ask { return s.withKey(buyAny(s, addr)) }},
	{"purchases through the gateway", "", inFlight, buyAny},
	{"credits, all bills", stack.Billing, inFlight, creditAny},
	{"credits, one bill", stack.Billing, inFlight, func(s *shop, addr string) ask { return s.credit(addr, s.hotBill) }},
	{"pages of bills", stack.Billing, 64, pageOf("/bills")},
	{"pages of transactions", stack.Billing, 64, pageOf("/transactions")},
	{"pages of products", stack.Catalog, 64, pageOf("/products")},
}

// buildBefore builds a commit's services, and the program that runs its shop with the settings
// that they know.
func buildBefore(ctx context.Context, root, commit, dir string) error {
	src := filepath.Join(dir, "src")
	if err := os.MkdirAll(src, 0o755); err != nil {
		return err
	}
	unpack := exec.CommandContext(ctx, "sh", "-c", `git -C "$0" archive "$1" >"$2.tar" && tar -xf "$2.tar" -C "$2"`, root, commit, src)
	if out, err := unpack.CombinedOutput(); err != nil {
		return fmt.Errorf("unpack the sources of %s: %w: %s", commit, err, strings.TrimSpace(string(out)))
	}
	fmt.Printf("building %s\n", commit)
	if err := stack.Build(ctx, src, filepath.Join(dir, "bin"), false); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-o", filepath.Join(dir, "host"), "./bench")
	build.Dir = filepath.Join(src, "tests")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // like the services, which have compiled most of it
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the program that runs the shop of %s: %w\n%s", commit, err, out)
	}
	return nil
}
