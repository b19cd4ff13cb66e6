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
	return d.spread(ctx)
}

// spread wants a replica of each service on each node.
func (d *day) spread(ctx context.Context) error {
	for _, s := range services {
		out, err := d.Kubectl(ctx, "-n", "lavka", "get", "pod", "-l", "app.kubernetes.io/component=server,app.kubernetes.io/name="+s, "-o", "jsonpath={.items[*].spec.nodeName}")
		if err != nil {
			return err
		}
		on := strings.Fields(out)
		slices.Sort(on)
		if !slices.Equal(on, []string{d.running[0].Name, d.running[1].Name}) {
			return fmt.Errorf("the replicas of %s are on %q, instead of one on each node", s, on)
		}
	}
	return nil
}

// drained takes a node out of service and back, as an operator does before maintenance.
func (d *day) drained(ctx context.Context) error {
	second := d.running[1].Name
	if err := d.underLoad(ctx, func() error {
		if _, err := d.Kubectl(ctx, "drain", second, "--delete-emptydir-data", "--timeout=2m"); err != nil {
			return err
		}
		return d.Settled(ctx)
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
	return d.spread(ctx)
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
