package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"lavka/deploy/local/stack"
	"lavka/libs/service/directhttp"
)

// everyReplicaServes tests each replica on its own after all faults have healed,
// since a replica that no longer receives messages can hide behind the other:
// each replica of catalog takes a purchase and receives billing's decision, each
// replica of billing decides on purchases, and each replica refuses the token of
// a user who has just been disabled.
func (t *trial) everyReplicaServes(ctx context.Context) error {
	if t.wrongClocks { // replicas refuse each other's tokens while their clocks differ
		return nil
	}
	for _, r := range t.Replicas(stack.Catalog) {
		if err := t.world.BuyAt(ctx, r.URL()); err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	for _, r := range t.Replicas(stack.Billing) {
		const decisions = "billing_charges_total"
		for before := counter(ctx, r, decisions); counter(ctx, r, decisions) <= before; {
			if err := errors.Join(ctx.Err(), t.world.BuyAt(ctx, t.Replicas(stack.Catalog)[0].URL())); err != nil {
				return fmt.Errorf("%s decides on no purchase: %w", r.Name, err)
			}
		}
	}
	var urls []string
	for service, path := range map[string]string{stack.Auth: "/users/me", stack.Catalog: "/purchases?limit=1", stack.Billing: "/bills?limit=1"} {
		for _, r := range t.Replicas(service) {
			urls = append(urls, r.URL()+path)
		}
	}
	return t.world.RevokedEverywhere(ctx, urls)
}

// counted returns the sum of a counter over all replicas of a service.
func (t *trial) counted(ctx context.Context, service, name string) (sum float64) {
	for _, r := range t.Replicas(service) {
		sum += counter(ctx, r, name)
	}
	return sum
}

// counter returns the sum of all series of a metric, 0 if the replica does not
// respond.
func counter(ctx context.Context, r *stack.Replica, name string) (sum float64) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.InternalURL()+"/metrics", nil)
	if err != nil {
		return 0
	}
	resp, err := directhttp.Client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		series, value, ok := strings.Cut(lines.Text(), " ")
		if metric, _, _ := strings.Cut(series, "{"); !ok || metric != name {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			sum += v
		}
	}
	return sum
}
