// Cluster runs what is in deploy/k8s against a real Kubernetes, built from pinned Go modules, and does what docs/operations.md tells operators to do:
//
//	make cluster-check
//
// The control plane alone: etcd, the API server and the controllers, on 127.0.0.1 and without privileges. The definitions of all custom resources are
// applied, and the objects of deploy/k8s/gitops are admitted. Each overlay is installed, applied once more without a change, upgraded, rolled back and
// removed, with Pod Security enforced. A warning of the API server is a failure. The tests of this package make deliberate mistakes.
//
// With nodes, the shop of the overlay dev runs in the cluster:
//
//	make cluster-check NODES=1
//
// With OVERLAY=production it is that of the overlay production, behind Traefik, with metrics-server, and on stand-ins for the Postgres and NATS that operators
// would run (tests/cluster/production).
//
// This program then runs itself again in namespaces of its own, which hold the control plane, a bridge and everything of the nodes, and which end with it,
// whatever ends it. Only files in its directory and control groups of that name are left by a run that is killed; the next run removes them. It needs root,
// containerd, runc, iptables, ipset and the images of `make images VERSION=dev`; -keep leaves the cluster running after a failure, until Ctrl-C.
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
	"lavka/tests/cluster/internal/node"
	"lavka/tests/cluster/internal/operator"
	"lavka/tests/cluster/internal/scratch"
)

func main() {
	root := flag.String("root", "../..", "path of the repository")
	buildOnly := flag.Bool("build", false, "only build the programs")
	nodes := flag.Int("nodes", 0, "how many nodes the cluster has")
	overlay := flag.String("overlay", "dev", "with nodes: the overlay of the shop, dev or production")
	keep := flag.Bool("keep", false, "with nodes: leave the cluster running after a failure, until Ctrl-C")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began := time.Now()
	var err error
	switch {
	case flag.Arg(0) == asCluster:
		err = inside(ctx)
	case flag.Arg(0) == asNode:
		err = node.Run()
	case *buildOnly:
		_, err = build(ctx, *root, *nodes, *overlay)
	case *nodes > 0:
		err = runNodes(ctx, *root, *overlay, *nodes, *keep)
	default:
		err = run(ctx, *root)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
	if flag.Arg(0) == "" {
		fmt.Printf("ok, %.0f s\n", time.Since(began).Seconds())
	}
}

const nothing = "NOTHING WAS RUN ON KUBERNETES"

func run(ctx context.Context, root string) (err error) {
	c, err := newCluster(ctx, root)
	if err != nil {
		return fmt.Errorf("there is no cluster:\n%s", banner(nothing, err.Error()))
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
	built, err := build(ctx, root, 0, "")
	if err != nil {
		return nil, err
	}
	if err := c.start(ctx, built.Kubernetes, dir.Path, ""); err != nil {
		return nil, err
	}
	return c, step(definitions, func() error { return c.define(ctx) })
}

const definitions = "definitions of custom resources"

func (c *cluster) define(ctx context.Context) error {
	modules, err := c.Define(ctx, pins(c.root))
	for _, m := range modules {
		fmt.Println("   ", m)
	}
	return err
}

// pins are those of the modules that have the definitions.
func pins(root string) string { return filepath.Join(root, "tests/cluster/crds") }

// start starts the control plane, which nodes reach at the address.
func (c *cluster) start(ctx context.Context, kubernetes, dir, address string) error {
	plane := filepath.Join(dir, "plane")
	if err := os.Mkdir(plane, 0o700); err != nil {
		return err
	}
	return step("control plane", func() (err error) {
		if c.plane, err = controlplane.Start(ctx, kubernetes, plane, address); err != nil {
			return err
		}
		c.Operator = &operator.Operator{Programs: kubernetes, Kubeconfig: c.plane.Kubeconfig, Home: dir, Deploy: filepath.Join(dir, "deploy"), Patience: time.Minute}
		return nil
	})
}

func (c *cluster) remove() error {
	var err error
	if c.plane != nil {
		err = c.plane.Stop()
	}
	return errors.Join(err, c.dir.Remove())
}

// secrets is the directory that devSecrets writes.
func (c *cluster) secrets() string { return filepath.Join(c.Home, "secrets") }

// devSecrets are the Secrets of the overlay dev, as deploy/k8s/dev-secrets prints them. Those that are not there yet are made for this run.
func (c *cluster) devSecrets(ctx context.Context) ([]byte, error) {
	if err := c.makeSecrets(ctx); err != nil {
		return nil, err
	}
	return c.printSecrets(ctx, c.secrets())
}

func (c *cluster) makeSecrets(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, filepath.Join(c.root, "bin/lavka"), "secrets", c.secrets()).CombinedOutput(); err != nil {
		return fmt.Errorf("lavka secrets: %w\n%s", err, out)
	}
	return nil
}

// printSecrets prints those in a directory.
func (c *cluster) printSecrets(ctx context.Context, dir string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.root, "deploy/k8s/dev-secrets"), dir)
	cmd.Stderr = os.Stderr
	return cmd.Output()
}
