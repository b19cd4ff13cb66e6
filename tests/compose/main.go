// Compose runs the shop of docker-compose.yml in its own containers, beside any that is already running, and checks what operators rely on:
//
//	go run ./compose [-keep]
//	go run ./compose -build    only builds the images
//
// It starts with one command; `lavka demo` succeeds; the gateway routes the paths of the contracts and no others; no container has more privileges than it needs;
// the nightly checks run; all passwords are changed and every replica is replaced under load, with no failed request and no lost or duplicate purchase;
// processes are killed under load, Postgres and NATS among them, and nothing is lost; and after down and up all data is unchanged.
//
// Without a Docker engine it prints a notice and checks nothing.
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
	root := flag.String("root", "..", "path of the repository")
	build := flag.Bool("build", false, "only build the images")
	keep := flag.Bool("keep", false, "leave the shop running")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()%1_000_000), "determines the requests sent under load")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if out, err := exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		fmt.Print(banner("NOTHING WAS RUN IN CONTAINERS: no Docker engine was found", strings.TrimSpace(string(out)), "tests/e2e tests the replacement of replicas as processes"))
		return
	}
	if err := run(ctx, *root, *seed, *build, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
}

func banner(lines ...string) string {
	edge := strings.Repeat("#", 100) + "\n"
	return edge + "## " + strings.Join(lines, "\n## ") + "\n" + edge
}

func run(ctx context.Context, root string, seed uint64, build, keep bool) (err error) {
	p, err := newProject(root)
	if err != nil {
		return err
	}
	if build {
		return p.show(ctx, compose, "build")
	}
	if err := p.remove(ctx); err != nil { // left over from an earlier run
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer p.following.Wait()
	defer cancel()
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
		{"container privileges and secrets", p.confined},
		{"images", p.images},
		{"nightly checks", p.checked},
		{"lavka demo", p.demo},
		{"paths", p.paths},
		{"the replicas of a service are replaced under load", t.replaced},
		{"passwords are changed and every replica is replaced under load", t.rotated},
		{"processes are killed under load", t.killed},
		{"docker compose down and up", t.downAndUp},
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
