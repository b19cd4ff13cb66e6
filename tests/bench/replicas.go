package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"lavka/deploy/local/stack"
)

// counts are the numbers of replicas; one of each service that has none here.
type counts map[string]int

// Set reads the number for all services (2), or for some (catalog=2,billing=4).
func (c counts) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		services := stack.Services()
		if service, number, ok := strings.Cut(part, "="); ok {
			if !slices.Contains(services, service) {
				return fmt.Errorf("there is no service %q", service)
			}
			services, part = []string{service}, number
		}
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no number of replicas", part)
		}
		for _, service := range services {
			c[service] = n
		}
	}
	return nil
}

func (c counts) String() string {
	if len(c) == 0 {
		return "1"
	}
	var parts []string
	for _, service := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, fmt.Sprintf("%s=%d", service, c[service]))
	}
	return strings.Join(parts, ",")
}

func (c counts) of(service string) stack.Service {
	return stack.Service{Replicas: max(1, c[service])}
}

// scaled is work for a service whose replicas have a part of a processor each: so little that four of
// them do not use up what all others need.
type scaled struct {
	work
	share float64
}

var allScaled = []scaled{
	{work{"purchases", stack.Catalog, inFlight, buyAny}, 0.15},
	{work{"credits", stack.Billing, inFlight, creditAny}, 0.15},
	{work{"pages of bills", stack.Billing, 64, pageOf("/bills")}, 0.15},
	{work{"logins", stack.Auth, 16, (*shop).loginTo}, 0.3},
}

// replicas measures what one, two and four replicas of a service do that have a part of a
// processor each, as if each were on a small machine of its own; Postgres, NATS and the other services have
// the rest. It needs root, and is a part only when it is asked for by its name.
func (b *bench) replicas(ctx context.Context) error {
	for _, what := range allScaled {
		if err := b.scale(ctx, what); err != nil {
			return fmt.Errorf("%s: %w", what.name, err)
		}
	}
	return nil
}

func (b *bench) scale(ctx context.Context, what scaled) (err error) {
	numbers := []int{1, 2, 4}
	shops := make([]*shop, len(numbers))
	for i, n := range numbers {
		if shops[i], err = b.neighbour(ctx, fmt.Sprintf("%s-%d", strings.ReplaceAll(what.name, " ", "-"), n), small, counts{what.service: n}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, shops[i].stop()) }()
		for j, pid := range shops[i].PIDs[what.service] {
			release, err := limitCPU(fmt.Sprintf("lavka-bench-%d-%d-%d", pid, i, j), pid, what.share)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, release()) }()
		}
		if err := shops[i].timeFlushes(ctx); err != nil {
			return err
		}
	}
	for range b.rounds {
		alone := 0.0
		for i, s := range shops {
			on := &bench{shop: s, span: b.span, peak: map[string]float64{}}
			got, err := on.spread(ctx, s.addrs(what.service), what.clients, func(addr string) ask { return what.ask(s, addr) })
			if err != nil {
				return err
			}
			if i == 0 {
				alone = got.rate()
			}
			used := got.cpu[what.service].Seconds() / got.span.Seconds() / float64(numbers[i])
			b.add(fmt.Sprintf("%s, %d of %s / one", what.name, numbers[i], what.service), "", "", got.rate()/alone,
				fmt.Sprintf("each has %.2f of a processor and used %.2f; %s", what.share, used, figures(got)))
		}
	}
	return nil
}
