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

	"lavka/libs/host/childprocess"
	"lavka/tests/cluster/internal/node"
)

// day is an operator's day with a shop on nodes.
type day struct {
	*trial
	order
	shop     shop
	running  []*node.Node
	payments int // made so far
}

// shop is what an overlay runs.
type shop struct {
	overlay string // in the copy of deploy/
	image   string // what the names of its images begin with in the overlay below
	// kubernetes is what docs/architecture.md calls the API server. In production, Postgres may reach it.
	kubernetes string
	addresses
	reached func(*day, context.Context, func() error) error // does something while the shop can be reached
	gateway probe
	parts   func(*day) []part
}

// addresses are URLs, for clients and for the payment provider.
type addresses struct{ clients, provider string }

var shops = map[string]shop{
	"dev": {
		overlay: "dev", image: "lavka-", kubernetes: "Kubernetes", addresses: addresses{forwardedTo, forwardedTo}, reached: (*day).forwarded, parts: (*day).dev,
		gateway: probe{name: "dev-gateway", namespace: "lavka", labels: map[string]string{
			"app.kubernetes.io/name": "dev-gateway", "app.kubernetes.io/component": "gateway", "app.kubernetes.io/part-of": "lavka",
		}},
	},
	"production": {
		overlay: standIns, image: "registry.example/lavka-", kubernetes: "Kubernetes and the object store",
		addresses: addresses{"https://" + shopHost, "https://" + paymentHost}, reached: (*day).balanced, parts: (*day).production,
		gateway: probe{name: "gateway", namespace: "traefik", labels: map[string]string{"app.kubernetes.io/name": "traefik"}, outside: true},
	},
}

type part struct {
	title string
	do    func(context.Context) error
}

// pass does all parts, until one fails.
func (d *day) pass(ctx context.Context) error {
	for _, p := range d.shop.parts(d) {
		if err := step(p.title, func() error { return p.do(ctx) }); err != nil {
			errs := []error{err, d.plane.Failed()}
			for _, n := range d.running {
				errs = append(errs, n.Failed())
			}
			return errors.Join(errs...)
		}
	}
	return nil
}

func (d *day) dev() []part {
	parts := []part{
		{"a node", d.firstNode},
		{"dev: installed, all Pods are ready", d.installed},
		{"dev: lavka demo", d.demo},
		{"dev: connections are those of docs/architecture.md", d.arrows},
		{"dev: restarted under load", d.restarted},
		{"dev: a replica that can't check tokens takes no good one away", d.withoutKeys},
		{"dev: a wrong password of NATS takes no good replica away", d.wrongPassword},
		{"dev: upgraded to the next release and back, under load", d.upgraded},
		{"dev: scaled to three replicas and back, under load", d.scaled},
		{"dev: new passwords of Postgres and NATS, under load", d.rotated},
		{"dev: a new signing key, under load", d.newSigningKey},
		{"dev: a stream that the server can't give takes no good replica away", d.wrongStream},
		{"dev: a backup is restored", d.restored},
	}
	if len(d.Nodes) > 1 {
		parts = append(parts,
			part{"dev: a second node, with a replica of each service", d.secondNode},
			part{"dev: the second node is drained, under load", d.drained},
			part{"dev: the second node is killed, under load", d.killed})
	}
	return append(parts, part{"dev: the nightly checks", d.verified})
}

// firstNode also has the name server.
func (d *day) firstNode(ctx context.Context) error {
	if err := d.startNode(ctx, 1); err != nil {
		return err
	}
	if err := d.ApplyText(ctx, dns); err != nil {
		return err
	}
	_, err := d.Kubectl(ctx, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=2m")
	return err
}

// volumes are for the claims of Postgres and NATS, on the first node.
func (d *day) volumes(ctx context.Context) error {
	first := d.running[0]
	for _, v := range []struct{ name, size string }{{"large", "5Gi"}, {"small", "2Gi"}} {
		if err := os.Mkdir(first.Volume(v.name), 0o755); err != nil {
			return err
		}
		volume := fmt.Sprintf(`{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":%[1]q},"spec":{"capacity":{"storage":%[2]q},"accessModes":["ReadWriteOnce"],`+
			`"local":{"path":%[3]q},"nodeAffinity":{"required":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"In","values":[%[4]q]}]}]}}}}`,
			v.name, v.size, first.Volume(v.name), first.Name)
		if err := d.ApplyText(ctx, []byte(volume)); err != nil {
			return err
		}
	}
	return nil
}

// installed does what docs/operations.md says under "To try it out".
func (d *day) installed(ctx context.Context) error {
	if err := errors.Join(d.volumes(ctx), d.fresh()); err != nil {
		return err
	}
	if err := d.applySecrets(ctx); err != nil {
		return err
	}
	if _, err := d.Apply(ctx, "dev"); err != nil {
		return err
	}
	return d.Settled(ctx)
}

// applySecrets makes the secrets that are missing, and applies all.
func (d *day) applySecrets(ctx context.Context) error {
	secrets, err := d.devSecrets(ctx)
	if err != nil {
		return err
	}
	return d.ApplyText(ctx, secrets)
}

const forwardedTo = "http://127.0.0.1:8080" // by kubectl port-forward, as in docs/operations.md

// demo plays the whole story, by the addresses that docs/operations.md gives the shop.
func (d *day) demo(ctx context.Context) error {
	return d.shop.reached(d, ctx, func() error {
		if err := d.lavka(ctx, "demo"); err != nil {
			return err
		}
		return d.lavka(ctx, "seed")
	})
}

// lavka runs a command of bin/lavka against the shop.
func (d *day) lavka(ctx context.Context, command string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(d.root, "bin/lavka"), command, "--url", d.shop.clients, "--payments-url", d.shop.provider)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.Home, "NO_COLOR=1", "SSL_CERT_FILE=" + d.plane.Authority()}
	for variable, file := range map[string]string{
		"ADMIN_PASSWORD_FILE": "admin-password", "PAYMENT_PRIVATE_KEYS_FILE": "payment-keys", "PAYMENT_SIGNING_SECRETS_FILE": "payment-signing-secrets",
	} {
		cmd.Env = append(cmd.Env, variable+"="+filepath.Join(d.secrets(), file))
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("lavka %s: %w\n%s", command, err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	fmt.Printf("    lavka %s: %s\n", command, lines[len(lines)-1])
	return nil
}

// forwarded does something while kubectl forwards connections to the shop.
func (d *day) forwarded(ctx context.Context, do func() error) (err error) {
	log, err := os.Create(filepath.Join(d.Home, "port-forward.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	forward := exec.CommandContext(ctx, filepath.Join(d.Programs, "kubectl"), "-n", "lavka", "port-forward", "service/gateway", "8080")
	forward.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.Home, "KUBECONFIG=" + d.Kubeconfig}
	forward.Stdout, forward.Stderr = log, log
	if err := childprocess.Start(forward, childprocess.Options{}); err != nil {
		return err
	}
	defer func() {
		if killed := forward.Process.Kill(); killed != nil && !errors.Is(killed, os.ErrProcessDone) {
			err = errors.Join(err, killed)
		}
		_ = forward.Wait() // it was killed
		if err != nil {
			err = errors.Join(err, complaints(log.Name()))
		}
	}()
	if err := d.answers(ctx); err != nil {
		return err
	}
	return do()
}

// answers waits until the shop does.
func (d *day) answers(ctx context.Context) error {
	return d.Until(ctx, func() (missing, err error) {
		c, err := d.newClient()
		if err != nil {
			return nil, err
		}
		return c.answers(ctx), nil
	})
}

// complaints are what kubectl port-forward has printed, without a line for each connection.
func complaints(log string) error {
	text, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	var all []error
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "Handling connection") && !strings.HasPrefix(line, "Forwarding from") {
			all = append(all, errors.New("kubectl port-forward: "+strings.TrimSpace(line)))
		}
	}
	return errors.Join(all...)
}

// explain prints what an operator would look at after a failure.
func (d *day) explain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"get", "nodes,pods", "-A", "-o", "wide"},
		{"get", "events", "-A", "--field-selector=type=Warning", "--sort-by=.lastTimestamp"},
		{"-n", "lavka", "logs", "-l", "app.kubernetes.io/component in (server,gateway,data,verify)", "--prefix", "--tail=3", "--max-log-requests=30", "--ignore-errors"},
	} {
		out, err := d.Kubectl(ctx, args...)
		if err != nil {
			out = err.Error()
		}
		fmt.Printf("--- kubectl %s\n%s\n", strings.Join(args, " "), out)
	}
}
