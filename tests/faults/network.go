package main

import (
	"context"
	"errors"
	"time"

	"lavka/deploy/local/stack"
	"lavka/tests/faults/link"
)

// group is a set of links that a fault breaks together.
type group []*link.Link

func (g group) each(f func(*link.Link) error) error {
	var errs []error
	for _, l := range g {
		errs = append(errs, f(l))
	}
	return errors.Join(errs...)
}

func (t *trial) natsLines(services ...string) (g group) {
	for _, l := range t.linesOf(services...) {
		g = append(g, l.nats)
	}
	return g
}

func (t *trial) postgresLines(services ...string) (g group) {
	for _, l := range t.linesOf(services...) {
		g = append(g, l.postgres)
	}
	return g
}

// networkFaults break the network between a service and Postgres or NATS.
func networkFaults() []fault {
	ways := []struct {
		name, story string
		harm        func(*link.Link) error
	}{
		{"cut", "is cut", (*link.Link).Cut},
		{"deaf", "swallows what the service sends", func(l *link.Link) error { l.Blackhole(link.Up); return nil }},
		{"mute", "swallows what the server answers", func(l *link.Link) error { l.Blackhole(link.Down); return nil }},
		{"hole", "swallows everything", func(l *link.Link) error { l.Blackhole(link.Both); return nil }},
		{"slow", "takes 100 ms more each way", func(l *link.Link) error { l.Slow(100*time.Millisecond, 50*time.Millisecond); return nil }},
	}
	var faults []fault
	for _, service := range stack.Services() {
		for _, server := range []string{"nats", "postgres"} {
			for _, way := range ways {
				faults = append(faults, fault{
					name: way.name + "-" + service + "-" + server, story: "the network between " + service + " and " + server + " " + way.story, blind: true,
					strike: func(ctx context.Context, t *trial) error {
						lines := t.natsLines(service)
						if server == "postgres" {
							lines = t.postgresLines(service)
						}
						if t.r.IntN(2) == 0 {
							lines = lines[:1] // of one replica only
						}
						return errors.Join(lines.each(way.harm), last(ctx, t.span(2*time.Second, 20*time.Second)), lines.each((*link.Link).Heal))
					},
				})
			}
		}
	}
	return faults
}
