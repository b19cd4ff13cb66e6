package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// secondNode joins a node, and scales the services to two replicas.
func (d *day) secondNode(ctx context.Context) error {
	if err := d.startNode(ctx, 2); err != nil {
		return err
	}
	if err := d.scale(ctx, 2); err != nil {
		return err
	}
	return d.placed(ctx, d.running[0].Name, d.running[1].Name)
}

// placed wants the replicas of each service on these nodes.
func (d *day) placed(ctx context.Context, nodes ...string) error {
	for _, s := range services {
		out, err := d.Kubectl(ctx, "-n", "lavka", "get", "pod", "-l", "app.kubernetes.io/component=server,app.kubernetes.io/name="+s, "-o", "jsonpath={.items[*].spec.nodeName}")
		if err != nil {
			return err
		}
		on := strings.Fields(out)
		slices.Sort(on)
		if !slices.Equal(on, nodes) {
			return fmt.Errorf("the replicas of %s are on %q instead of %q", s, on, nodes)
		}
	}
	return nil
}

// drained takes a node with all replicas of each service out of service and back, as an operator does before maintenance. The PodDisruptionBudgets let go one
// replica of a service at a time.
func (d *day) drained(ctx context.Context) error {
	first, second := d.running[0].Name, d.running[1].Name
	if err := d.gathered(ctx); err != nil {
		return err
	}
	if err := d.underLoad(ctx, func() error {
		if _, err := d.Kubectl(ctx, "drain", second, "--delete-emptydir-data", "--timeout=2m"); err != nil {
			return err
		}
		if err := d.Settled(ctx); err != nil {
			return err
		}
		return d.placed(ctx, first, first)
	}); err != nil {
		return err
	}
	if _, err := d.Kubectl(ctx, "uncordon", second); err != nil {
		return err
	}
	// So that there are replicas on it again.
	if err := errors.Join(d.scale(ctx, 1), d.scale(ctx, 2)); err != nil {
		return err
	}
	return d.placed(ctx, first, second)
}

// gathered has all replicas run on the second node.
func (d *day) gathered(ctx context.Context) error {
	first := d.running[0].Name
	if _, err := d.Kubectl(ctx, "cordon", first); err != nil {
		return err
	}
	if err := d.restartAll(ctx); err != nil {
		return err
	}
	if _, err := d.Kubectl(ctx, "uncordon", first); err != nil {
		return err
	}
	second := d.running[1].Name
	return d.placed(ctx, second, second)
}

// killed has a node lose its power. Once the control plane has noticed, its replicas are replaced on the other node.
func (d *day) killed(ctx context.Context) error {
	second := d.running[1]
	d.running = d.running[:1]
	return d.underFaults(ctx, func() error {
		if err := second.Kill(); err != nil {
			return err
		}
		if _, err := d.Kubectl(ctx, "wait", "--for=condition=Ready=Unknown", "node/"+second.Name, "--timeout=2m"); err != nil {
			return err
		}
		if _, err := d.Kubectl(ctx, "delete", "node", second.Name); err != nil {
			return err
		}
		return d.Settled(ctx)
	})
}
