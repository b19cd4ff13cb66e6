package main

import (
	"context"
	"crypto/x509/pkix"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"lavka/tests/cluster/internal/cgroups"
	"lavka/tests/cluster/internal/controlplane"
	"lavka/tests/cluster/internal/images"
	"lavka/tests/cluster/internal/isolated"
	"lavka/tests/cluster/internal/node"
	"lavka/tests/cluster/internal/programs"
	"lavka/tests/cluster/internal/scratch"
)

// What this program is when it runs itself again.
const asCluster, asNode = "cluster", "node"

// images of programs, as in nodes/*.yaml.
const pauseImage, dnsImage, metricsImage, traefikImage = "lavka-cluster/pause:kept", "lavka-cluster/coredns:kept", "lavka-cluster/metrics-server:kept", "lavka-cluster/traefik:kept"

//go:embed nodes/dns.yaml
var dns []byte

// built are the directories of programs.
type built struct{ Kubernetes, CNI, CoreDNS, KubeRouter, Pause, MetricsServer, Traefik string }

// build builds the programs of the control plane and, if there are to be nodes, those that the overlay needs there.
func build(ctx context.Context, root string, nodes int, overlay string) (b built, err error) {
	here := filepath.Join(root, "tests/cluster")
	type wanted struct {
		set programs.Set
		dir *string
	}
	sets := []wanted{
		{programs.Kubernetes(filepath.Join(here, "kubernetes")), &b.Kubernetes},
		{programs.Set{Name: "CNI plugins", Source: filepath.Join(here, "nodes/cni"), Module: "github.com/containernetworking/plugins"}, &b.CNI},
		{programs.Set{Name: "CoreDNS", Source: filepath.Join(here, "nodes/coredns"), Module: "github.com/coredns/coredns"}, &b.CoreDNS},
		{programs.Set{Name: "kube-router", Source: filepath.Join(here, "nodes/kube-router"), Module: "github.com/cloudnativelabs/kube-router/v2"}, &b.KubeRouter},
		{programs.Set{Name: "pause", Source: filepath.Join(here, "nodes/pause")}, &b.Pause},
	}
	switch {
	case nodes == 0:
		sets = sets[:1]
	case overlay == "production":
		sets = append(sets,
			wanted{programs.Set{Name: "metrics-server", Source: filepath.Join(here, "nodes/metrics-server"), Module: "sigs.k8s.io/metrics-server"}, &b.MetricsServer},
			wanted{programs.Set{Name: "Traefik", Source: filepath.Join(here, "nodes/traefik"), Module: traefikModule}, &b.Traefik})
	}
	err = step("programs", func() error {
		for _, s := range sets {
			if *s.dir, err = programs.Build(ctx, s.set, os.Stdout); err != nil {
				return err
			}
		}
		return nil
	})
	return b, err
}

// order is what the program in the namespaces is told.
type order struct {
	Root, Dir string
	Nodes     []string // their control groups
	Overlay   string
	Keep      bool
	Built     built
	Traefik   string   // directory of its module, if the overlay needs it
	Images    []string // archives
}

// runNodes prepares what needs this machine's network, and has the rest run in namespaces.
func runNodes(ctx context.Context, root, overlay string, nodes int, keep bool) (err error) {
	if _, known := shops[overlay]; !known {
		return fmt.Errorf("the overlay %q does not run on nodes: choose dev or production", overlay)
	}
	prepared, dir, err := prepare(ctx, root, nodes, overlay)
	if dir != nil {
		defer func() { err = errors.Join(err, dir.Remove()) }()
	}
	if err != nil {
		return fmt.Errorf("there are no nodes:\n%s", banner(nothing, err.Error()))
	}
	prepared.Keep = keep
	cluster, err := isolated.Command(ctx, asCluster)
	if err != nil {
		return err
	}
	cluster.Cancel = func() error { return cluster.Process.Signal(syscall.SIGTERM) }
	cluster.WaitDelay = 30 * time.Second
	cluster.Stdout, cluster.Stderr = os.Stdout, os.Stderr
	if err := cluster.Start(); err != nil {
		return fmt.Errorf("there are no nodes:\n%s", banner(nothing, err.Error()))
	}
	if keep {
		fmt.Printf("The cluster is in the namespaces of process %d: nsenter -t %[1]d -m -n -p\n", cluster.Process.Pid)
	}
	if err := cluster.Tell(prepared); err != nil {
		return errors.Join(err, cluster.Process.Kill(), cluster.Wait())
	}
	if err := cluster.Wait(); err != nil { // why is said already
		return fmt.Errorf("the cluster: %w", err)
	}
	return nil
}

func prepare(ctx context.Context, root string, nodes int, overlay string) (o order, dir *scratch.Dir, err error) {
	o.Overlay = overlay
	if err := node.Missing(); err != nil {
		return o, nil, err
	}
	if o.Root, err = filepath.Abs(root); err != nil {
		return o, nil, err
	}
	if dir, err = scratch.New(); err != nil {
		return o, nil, err
	}
	o.Dir = dir.Path
	for n := range nodes {
		group, err := cgroups.Create(dir.Name(), fmt.Sprintf("node-%d", n+1))
		if err != nil {
			return o, dir, err
		}
		o.Nodes = append(o.Nodes, group)
	}
	if o.Built, err = build(ctx, root, nodes, overlay); err != nil {
		return o, dir, err
	}
	// The definitions of custom resources are in modules, which can't be fetched from within the namespaces.
	fetch := exec.CommandContext(ctx, "go", "mod", "download")
	fetch.Dir, fetch.Env, fetch.Stderr = pins(root), append(os.Environ(), "GOWORK=off"), os.Stderr
	if err := fetch.Run(); err != nil {
		return o, dir, fmt.Errorf("go mod download in %s: %w", fetch.Dir, err)
	}
	if overlay == "production" {
		if o.Traefik, err = traefikSource(ctx, root); err != nil {
			return o, dir, err
		}
	}
	err = step("images", func() error {
		names, err := imagesOf(ctx, filepath.Join(o.Built.Kubernetes, "kustomize"), filepath.Join(root, "deploy/k8s/overlays/dev"))
		if err != nil {
			return err
		}
		for _, s := range services {
			if !slices.Contains(names, present(s)) {
				return fmt.Errorf("the overlay dev has the images %q, without %s", names, present(s))
			}
		}
		file := func(name string) string {
			o.Images = append(o.Images, filepath.Join(o.Dir, name+".tar"))
			return o.Images[len(o.Images)-1]
		}
		for _, p := range []struct{ dir, name, image string }{
			{o.Built.Pause, "pause", pauseImage}, {o.Built.CoreDNS, "coredns", dnsImage}, {o.Built.MetricsServer, "metrics-server", metricsImage}, {o.Built.Traefik, "traefik", traefikImage},
		} {
			if p.dir == "" {
				continue // this overlay does without
			}
			if err := images.Pack(file(p.name), p.image, filepath.Join(p.dir, p.name)); err != nil {
				return err
			}
		}
		return images.Save(ctx, file("shop"), names...)
	})
	return o, dir, err
}

var image = regexp.MustCompile(`(?m)^\s+(?:- )?image: (\S+)$`)

// imagesOf are those of an overlay.
func imagesOf(ctx context.Context, kustomize, overlay string) ([]string, error) {
	out, err := exec.CommandContext(ctx, kustomize, "build", overlay).Output()
	if err != nil {
		return nil, fmt.Errorf("kustomize build %s: %w", overlay, err)
	}
	var names []string
	for _, m := range image.FindAllSubmatch(out, -1) {
		names = append(names, string(m[1]))
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// present and next are the images of a service's releases. The next one is the same under another name.
func present(service string) string { return "lavka-" + service + ":dev" }

func next(service string) string { return "lavka-" + service + ":next" }

// inside is the first process of the namespaces.
func inside(ctx context.Context) (err error) {
	var o order
	if err := isolated.Enter(&o); err != nil {
		return errors.New(banner(nothing, err.Error()))
	}
	if err := node.Bridge(); err != nil {
		return errors.New(banner(nothing, err.Error()))
	}
	c := &cluster{root: o.Root}
	if err := c.start(ctx, o.Built.Kubernetes, o.Dir, node.Address); err != nil {
		return errors.New(banner(nothing, err.Error()))
	}
	c.Patience = 10 * time.Minute // everything starts at once on few processors
	d := &day{trial: &trial{c}, order: o, shop: shops[o.Overlay]}
	err = d.pass(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	d.explain(ctx)
	if o.Keep {
		fmt.Printf("%v\nThe cluster is kept until Ctrl-C, with KUBECONFIG=%s PATH=%s:$PATH\n", err, c.Kubeconfig, o.Built.Kubernetes)
		<-ctx.Done()
	}
	return err
}

// startNode starts one of the nodes.
func (d *day) startNode(ctx context.Context, number int) error {
	c := node.Config{
		Number: number, Of: len(d.Nodes), CgroupRoot: d.Nodes[number-1], CNI: d.Built.CNI, Kubernetes: d.Built.Kubernetes, KubeRouter: filepath.Join(d.Built.KubeRouter, "kube-router"),
		Services: controlplane.Services, Images: d.Images, Pause: pauseImage,
	}
	c.Dir = filepath.Join(d.Dir, c.Name())
	for _, s := range services {
		c.Tags = append(c.Tags, node.Tag{Image: present(s), Name: next(s)})
	}
	var err error
	if c.Cert, c.Key, c.ClientCA, err = d.plane.Server(c.Name(), node.AddressOf(number)); err != nil {
		return err
	}
	for _, client := range []struct {
		kubeconfig *string
		name       string
		subject    pkix.Name
	}{
		{&c.Kubelet, "kubelet", pkix.Name{CommonName: "system:node:" + c.Name(), Organization: []string{"system:nodes"}}},
		{&c.Proxy, "proxy", pkix.Name{CommonName: "system:kube-proxy"}},
		{&c.Router, "router", pkix.Name{CommonName: "kube-router", Organization: []string{"system:masters"}}},
	} {
		if *client.kubeconfig, err = d.plane.Client(c.Name()+"-"+client.name, client.subject); err != nil {
			return err
		}
	}
	n, err := node.Start(ctx, asNode, c)
	if err != nil {
		return err
	}
	d.running = append(d.running, n)
	return nil
}
