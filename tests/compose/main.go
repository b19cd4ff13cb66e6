// Compose runs the shop of docker-compose.yml in containers of its own, beside one that may be running, and shows that it does what an operator counts on:
//
//	go run ./compose [-keep]
//
// It comes up with one command; the whole story of `lavka demo` can be told; the gateway knows the paths of the contracts and no other; no container may do more
// than it must; every replica is replaced under load with no failed request, no lost and no doubled purchase; processes are killed under load, Postgres and NATS
// among them, and nothing is lost; all passwords are changed, and nobody notices; and after down and up again all is as it was.
//
// Without a Docker engine it says so, and nothing is shown.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	root := flag.String("root", "..", "the repository")
	keep := flag.Bool("keep", false, "leave the shop running")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()%1_000_000), "decides what is asked under load")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if out, err := exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		fmt.Print(banner("NOTHING WAS RUN IN CONTAINERS: there is no Docker engine here", strings.TrimSpace(string(out)), "tests/e2e replaces replicas as processes"))
		return
	}
	if err := run(ctx, *root, *seed, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
}

func banner(lines ...string) string {
	edge := strings.Repeat("#", 100) + "\n"
	return edge + "## " + strings.Join(lines, "\n## ") + "\n" + edge
}

func run(ctx context.Context, root string, seed uint64, keep bool) (err error) {
	p, err := newProject(root)
	if err != nil {
		return err
	}
	if err := p.remove(ctx); err != nil { // what an earlier run has left
		return err
	}
	if !keep {
		defer func() {
			if err != nil {
				p.showLogs()
			}
			err = errors.Join(err, p.remove(context.WithoutCancel(ctx)))
		}()
	}
	t := &trial{project: p, seed: seed}
	for _, part := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"docker compose up --build --wait", p.up},
		{"what containers may do, and what they know", p.confined},
		{"images", p.images},
		{"the story (lavka demo)", p.demo},
		{"paths", p.paths},
		{"every replica is replaced under load", t.replaced},
		{"passwords are changed under load", t.rotated},
		{"processes are killed under load", t.killed},
		{"docker compose down, and up again", t.downAndUp},
	} {
		began := time.Now()
		fmt.Printf("--- %s\n", part.title)
		if err := part.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.title, err)
		}
		fmt.Printf("--- %s: ok, %.0f s\n", part.title, time.Since(began).Seconds())
	}
	return nil
}
