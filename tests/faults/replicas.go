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
)

// everyReplicaServes looks at each replica by itself once all is healed, since
// one that has stayed deaf can hide behind the other: each takes a purchase and
// hears what billing decides on it, each of billing's decides on purchases, and
// each refuses the token of a user who is disabled now.
func (t *trial) everyReplicaServes(ctx context.Context) error {
	if t.wrongClocks { // they refuse each other's tokens for as long as that lasts
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
				return fmt.Errorf("%s decides on nothing: %w", r.Name, err)
			}
		}
	}
	var urls []string
	for service, path := range map[string]string{stack.Auth: "/users/me", stack.Catalog: "/purchases?limit=1", stack.Billing: "/bills?limit=1"} {
		for _, r := range t.Replicas(service) {
			urls = append(urls, r.URL()+path)
		}
	}
	return t.world.OutEverywhere(ctx, urls)
}

// counted sums up a counter of all replicas of a service.
func (t *trial) counted(ctx context.Context, service, name string) (sum float64) {
	for _, r := range t.Replicas(service) {
		sum += counter(ctx, r, name)
	}
	return sum
}

// counter is the sum of all series of a metric, 0 where there is no answer.
func counter(ctx context.Context, r *stack.Replica, name string) (sum float64) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.InternalURL()+"/metrics", nil)
	if err != nil {
		return 0
	}
	resp, err := http.DefaultClient.Do(req)
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
