// Bench measures a shop of real binaries against baselines on the same
// machine, in the same run: pgbench on the shop's own Postgres for writes, a
// bare echo server that answers the same bytes for reads. Only the ratios count.
//
//	go run ./bench [-short] [-out ../docs]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"lavka/deploy/local/stack"
)

var processors = runtime.NumCPU()

func main() {
	short := flag.Bool("short", false, "a small shop and short measurements: it works and adds up, and no figure is worth much")
	root := flag.String("root", "..", "the repository")
	out := flag.String("out", "", "the directory that takes benchmarks.md and its plot, when all was measured; empty prints only")
	only := flag.String("only", "", "only the parts whose names match this pattern, as in a shell")
	span := flag.Duration("span", 0, "how long one measurement takes, where not as usual")
	before := flag.String("before", "", "compare this checkout with a commit, in turns, and measure nothing else")
	replicas := counts{}
	flag.Var(replicas, "replicas", "how many of each service there are (2), or of some (catalog=2,billing=4); only the part \"load\" uses all of them")
	echoAddr := flag.String("echo", "", "serve as the bare echo server, at this address; then the file with the answer")
	hostDir := flag.String("host", "", "run the shop whose binaries are in this directory, until standard input ends")
	flag.Parse()
	if _, err := filepath.Match(*only, ""); err != nil {
		fail(fmt.Errorf("%q is no pattern: %w", *only, err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case *echoAddr != "":
		fail(serveEcho(*echoAddr, flag.Arg(0)))
		return
	case *hostDir != "":
		fail(serveShop(ctx, *hostDir, replicas))
		return
	}
	fail(run(ctx, *root, *out, newBench(*short, *only, *span), replicas, *before))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root, out string, b *bench, replicas counts, before string) (err error) {
	work, err := os.MkdirTemp("", "lavka-bench-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	b.root, b.work = root, work
	if err := stack.Build(ctx, root, b.bin(), false); err != nil {
		return err
	}
	fmt.Printf("starting a shop with %d users, %d bills, %d products\n", b.size.users, b.size.bills(), b.size.products)
	s, err := startShop(ctx, work, b.size, replicas)
	if s != nil {
		defer func() { err = errors.Join(err, s.stop()) }()
	}
	if err != nil {
		return err
	}
	b.shop = s
	if b.floor, err = newFloor(ctx, s.AdminDatabaseURL, work); err != nil {
		return err
	}
	if err := s.timeFlushes(ctx); err != nil {
		return err
	}
	time.Sleep(b.calm) // it is at rest when there are no requests
	if b.atRest, err = s.memory(); err != nil {
		return err
	}
	if before != "" {
		err = b.compare(ctx, before)
	} else {
		err = b.run(ctx)
	}
	if err != nil {
		return err
	}
	adds, err := s.verify(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s\n%s\nbilling verify: %s\n", b.table(), b.memories(), adds)
	if out == "" || b.only != "" || before != "" { // a part is no table to publish
		return nil
	}
	return b.write(out, adds)
}
