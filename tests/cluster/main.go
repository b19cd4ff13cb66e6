// Cluster runs what is in deploy/k8s against a real Kubernetes, built from pinned Go modules, and does what docs/operations.md tells operators to do:
//
//	make cluster-check
//
// The control plane alone: etcd, the API server and the controllers, on 127.0.0.1 and without privileges. The definitions of all custom resources are
// applied, and those of deploy/k8s/gitops are admitted. Each overlay is installed, applied once more without a change, upgraded, rolled back and removed, with Pod Security enforced. A warning of the API
// server is a failure. The tests of this package make deliberate mistakes.
//
// If the cluster does not start, it prints the reason in a box, and fails.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"lavka/tests/cluster/internal/controlplane"
	"lavka/tests/cluster/internal/operator"
	"lavka/tests/cluster/internal/programs"
	"lavka/tests/cluster/internal/scratch"
)

func main() {
	root := flag.String("root", "../..", "path of the repository")
	buildOnly := flag.Bool("build", false, "only build the programs of Kubernetes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began := time.Now()
	do := run
	if *buildOnly {
		do = build
	}
	if err := do(ctx, *root); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
	fmt.Printf("ok, %.0f s\n", time.Since(began).Seconds())
}

func build(ctx context.Context, root string) error {
	_, err := programs.Build(ctx, filepath.Join(root, "tests/cluster/kubernetes"), os.Stdout)
	return err
}

func run(ctx context.Context, root string) (err error) {
	c, err := newCluster(ctx, root)
	if err != nil {
		return fmt.Errorf("there is no cluster:\n%s", banner("NOTHING WAS RUN ON KUBERNETES", err.Error()))
	}
	defer func() { err = errors.Join(err, c.remove()) }()
	t := &trial{c}
	if err := step("objects for Argo CD and Flux", func() error { return errors.Join(t.fresh(), t.gitops(ctx)) }); err != nil {
		return err
	}
	for _, overlay := range []string{"dev", "staging", "production"} {
		if err := t.overlay(ctx, overlay); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", overlay, err), c.plane.Failed())
		}
	}
	return nil
}

func banner(title, text string) string {
	edge := strings.Repeat("#", 100)
	return edge + "\n## " + title + "\n## " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n## ") + "\n" + edge
}

// step does a part and prints how long it took.
func step(title string, do func() error) error {
	began := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	fmt.Printf("--- %s: %.1f s\n", title, time.Since(began).Seconds())
	return nil
}

// cluster is a control plane with the definitions of all custom resources.
type cluster struct {
	*operator.Operator
	root  string
	dir   *scratch.Dir
	plane *controlplane.ControlPlane
}

func newCluster(ctx context.Context, root string) (_ *cluster, err error) {
	here := filepath.Join(root, "tests/cluster")
	dir, err := scratch.New()
	if err != nil {
		return nil, err
	}
	c := &cluster{root: root, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.remove())
		}
	}()
	var built string
	if err := step("programs of Kubernetes", func() (err error) {
		built, err = programs.Build(ctx, filepath.Join(here, "kubernetes"), os.Stdout)
		return err
	}); err != nil {
		return nil, err
	}
	plane := filepath.Join(dir.Path, "plane")
	if err := os.Mkdir(plane, 0o700); err != nil {
		return nil, err
	}
	if err := step("control plane", func() (err error) {
		c.plane, err = controlplane.Start(ctx, built, plane)
		return err
	}); err != nil {
		return nil, err
	}
	c.Operator = &operator.Operator{Programs: built, Kubeconfig: c.plane.Kubeconfig, Home: dir.Path, Deploy: filepath.Join(dir.Path, "deploy"), Patience: time.Minute}
	return c, step("definitions of custom resources", func() error {
		modules, err := c.Define(ctx, filepath.Join(here, "crds"))
		for _, m := range modules {
			fmt.Println("   ", m)
		}
		return err
	})
}

func (c *cluster) remove() error {
	var err error
	if c.plane != nil {
		err = c.plane.Stop()
	}
	return errors.Join(err, c.dir.Remove())
}

// devSecrets are the Secrets of the overlay dev, as deploy/k8s/dev-secrets prints them, with secrets made for this run.
func (c *cluster) devSecrets(ctx context.Context) ([]byte, error) {
	dir := filepath.Join(c.dir.Path, "secrets")
	if out, err := exec.CommandContext(ctx, filepath.Join(c.root, "bin/lavka"), "secrets", dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("lavka secrets: %w\n%s", err, out)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(c.root, "deploy/k8s/dev-secrets"), dir)
	cmd.Stderr = os.Stderr
	return cmd.Output()
}
