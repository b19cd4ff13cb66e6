package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	span := min(b.span, turn)
	old.span, b.span = span, span
	for _, c := range comparisons {
		if !b.wants(c.name) {
			continue
		}
		for i := range b.turns {
			before, now, err := inTurns(i, func() (sample, error) { return c.measure(ctx, old) }, func() (sample, error) { return c.measure(ctx, b) })
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			b.add(c.name+": now / "+commit, c.target, "", now.rate()/before.rate(), fmt.Sprintf("now %s; before %s", figures(now), figures(before)))
		}
	}
	if len(b.rows) == 0 {
		return fmt.Errorf("nothing that is compared is called %s", b.only)
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

// comparisons are the rows of compare.
var comparisons = []struct {
	name, target string
	measure      func(context.Context, *bench) (sample, error)
}{
	{"purchases, all bills", "≥ 0.95", func(ctx context.Context, b *bench) (sample, error) {
		return b.full(ctx, b.addr(stack.Catalog), inFlight, b.purchase(b.addr(stack.Catalog), b.anyBill))
	}},
	{"purchases, one bill", "≥ 0.95", func(ctx context.Context, b *bench) (sample, error) {
		return b.full(ctx, b.addr(stack.Catalog), inFlight, b.purchase(b.addr(stack.Catalog), b.hotBill))
	}},
	{"purchases with an Idempotency-Key", "≥ 0.95", func(ctx context.Context, b *bench) (sample, error) {
		return b.full(ctx, b.addr(stack.Catalog), inFlight, b.withKey(b.purchase(b.addr(stack.Catalog), b.anyBill)))
	}},
	{"purchases through the gateway", "≥ 0.95", func(ctx context.Context, b *bench) (sample, error) {
		return b.full(ctx, b.gateway(), inFlight, b.purchase(b.gateway(), b.anyBill))
	}},
	{"credits, all bills", "≥ 0.95", func(ctx context.Context, b *bench) (sample, error) {
		return b.full(ctx, b.addr(stack.Billing), inFlight, b.credit(b.addr(stack.Billing), b.anyBill))
	}},
	{"credits, one bill", "≥ 0.95", func(ctx context.Context, b *bench) (sample, error) {
		return b.full(ctx, b.addr(stack.Billing), inFlight, b.credit(b.addr(stack.Billing), b.hotBill))
	}},
	{"pages of bills", "≥ 0.95", page(stack.Billing, "/bills")},
	{"pages of transactions", "≥ 0.95", page(stack.Billing, "/transactions")},
	{"pages of products", "≥ 0.95", page(stack.Catalog, "/products")},
}

func page(service, path string) func(context.Context, *bench) (sample, error) {
	return func(ctx context.Context, b *bench) (sample, error) {
		return b.full(ctx, b.addr(service), 64, b.get(b.addr(service), path+"?limit=20", []byte(`"items"`)))
	}
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
