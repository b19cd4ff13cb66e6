// Faults starts shops of real binaries, runs a load against them, injects a
// fault, removes it, and checks what clients saw against what the databases hold.
//
//	go run ./faults [-seed N] [-case NAME] [-minutes N]
//	go run ./faults -mutants [-case NAME]
//	go run ./faults -then-mutants
//
// The first tries each fault once or, with -minutes, faults and random mixes of
// them until the time is up. The second builds deliberately broken services and
// checks that each is caught. The third does both and builds the services once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"lavka/deploy/local/stack"
	"lavka/tests/faults/variant"
)

func main() {
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()%1_000_000), "decides the requests and the time of each fault")
	only := flag.String("case", "", "only the faults (or mutants) whose names match this shell pattern")
	minutes := flag.Int("minutes", 0, "how long to run; 0 means each fault once, and briefly")
	mutants := flag.Bool("mutants", false, "check that broken services are caught")
	thenMutants := flag.Bool("then-mutants", false, "try the faults, and then check that broken services are caught")
	root := flag.String("root", "..", "the repository")
	keep := flag.Bool("keep", false, "keep the shops' data and output")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	h := &harness{root: *root, seed: *seed, only: *only, limit: time.Duration(*minutes) * time.Minute, keep: *keep}
	if err := h.run(ctx, !*mutants, *mutants || *thenMutants); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
}

// harness is one run of this program.
type harness struct {
	root  string
	seed  uint64
	only  string
	limit time.Duration
	keep  bool

	work     string // everything that is made lies in it
	plain    string // the services as they are
	points   string // the services with points
	template string // the database with which each shop starts
}

func (h *harness) run(ctx context.Context, faults, mutants bool) (err error) {
	if faults && mutants && h.only != "" {
		return errors.New("-case names either faults or mutants: leave out -then-mutants")
	}
	if _, err := filepath.Match(h.only, ""); err != nil {
		return fmt.Errorf("-case %q: %w", h.only, err)
	}
	if h.work, err = os.MkdirTemp("", "lavka-faults-*"); err != nil {
		return err
	}
	defer func() {
		if h.keep {
			fmt.Println("the shops' data and output are in", h.work)
			return
		}
		err = errors.Join(err, os.RemoveAll(h.work))
	}()
	if err := h.build(ctx); err != nil {
		return err
	}
	h.template = filepath.Join(h.work, "template")
	if err := stack.MakeTemplate(ctx, h.plain, h.template); err != nil {
		return err
	}
	if faults {
		err = h.tryFaults(ctx)
	}
	if mutants {
		err = errors.Join(err, h.tryMutants(ctx))
	}
	return err
}

func (h *harness) build(ctx context.Context) error {
	fmt.Println("building the services, as they are and with points")
	h.plain, h.points = filepath.Join(h.work, "plain"), filepath.Join(h.work, "points")
	if err := os.Mkdir(h.plain, 0o755); err != nil {
		return err
	}
	if err := stack.Build(ctx, h.root, h.plain, true); err != nil {
		return err
	}
	return variant.Build(ctx, h.root, h.plain, h.points, variant.WithPoints(), stack.Services()...)
}

func (h *harness) wanted(name string) bool {
	ok, err := filepath.Match(h.only, name)
	return h.only == "" || ok && err == nil
}
