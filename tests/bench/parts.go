package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"lavka/deploy/local/stack"
)

// inFlight is how many purchases are under way at a time.
const inFlight = 256

// clientsOfCurve are those of the plot.
var clientsOfCurve = []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 512}

// drawCurve measures purchases over all bills with more and more clients.
func (b *bench) drawCurve(ctx context.Context) error {
	catalog := b.addr(stack.Catalog)
	for _, n := range clientsOfCurve {
		s := closed(ctx, catalog, n, b.span/2, b.purchase(catalog, b.anyBill))
		if err := s.unexpected(); err != nil {
			return err
		}
		b.curve = append(b.curve, point{n, s.rate(), s.percentile(99)})
		fmt.Printf("  %4d clients: %s\n", n, figures(s))
	}
	return ctx.Err()
}

// load is the shop under purchases alone, to look at it with other tools; a part
// only when it is asked for by its name.
func (b *bench) load(ctx context.Context) error {
	replicas := b.addrs(stack.Catalog)
	s, err := b.spread(ctx, replicas, inFlight, func(addr string) ask { return b.purchase(addr, b.anyBill) })
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("purchases, all bills, replicas of catalog: %d", len(replicas)), "", "/s", s.rate(), figures(s))
	return nil
}

// spread measures the throughput of a number of clients, the same number at each address.
func (b *bench) spread(ctx context.Context, addrs []string, clients int, to func(addr string) ask) (sample, error) {
	return b.watched(ctx, func() sample {
		each := make([]sample, len(addrs))
		var all sync.WaitGroup
		for i, addr := range addrs {
			all.Go(func() { each[i] = closed(ctx, addr, max(1, clients/len(addrs)), b.span, to(addr)) })
		}
		all.Wait()
		return together(each)
	})
}

func (b *bench) purchases(ctx context.Context) error {
	catalog := b.addr(stack.Catalog)
	uniformFloor, err := b.floor.best(ctx, "uniform", b.levels, b.span/2)
	if err != nil {
		return err
	}
	uniform, err := b.full(ctx, catalog, inFlight, b.purchase(catalog, b.anyBill))
	if err != nil {
		return err
	}
	hotFloor, err := b.floor.best(ctx, "hot", b.levels, b.span/2)
	if err != nil {
		return err
	}
	hot, err := b.full(ctx, catalog, inFlight, b.purchase(catalog, b.hotBill))
	if err != nil {
		return err
	}
	through, err := b.full(ctx, b.gateway(), inFlight, b.purchase(b.gateway(), b.anyBill))
	if err != nil {
		return err
	}
	keyed, err := b.full(ctx, catalog, inFlight, b.withKey(b.purchase(catalog, b.anyBill)))
	if err != nil {
		return err
	}
	b.add("pgbench, all bills, best", "", "/s", uniformFloor, "")
	b.add("pgbench, one row, best", "", "/s", hotFloor, "")
	b.add("purchases, all bills / pgbench", "≥ 1.0", "", uniform.rate()/uniformFloor, figures(uniform))
	b.add("purchases, one bill / pgbench, one row", "≥ 4", "", hot.rate()/hotFloor, figures(hot))
	b.add("purchases, one bill / all bills", "≥ 0.9", "", hot.rate()/uniform.rate(), "")
	b.add("purchases with an Idempotency-Key / without", "reported", "", keyed.rate()/uniform.rate(), figures(keyed))
	b.add("memory of a service at full load, maximum", "≤ 200 MiB", " MiB", slices.Max(slices.Collect(maps.Values(uniform.memory))), memories(uniform.memory))
	b.add("purchases through the gateway / direct", "reported", "", through.rate()/uniform.rate(), figures(through))
	return nil
}

// idle is one purchase at a time, and then half of what can be done.
func (b *bench) idle(ctx context.Context) error {
	catalog := b.addr(stack.Catalog)
	_, floor, err := b.floor.run(ctx, "uniform", 1, b.span/2)
	if err != nil {
		return err
	}
	one, err := b.full(ctx, catalog, 1, b.purchase(catalog, b.anyBill))
	if err != nil {
		return err
	}
	most, err := b.full(ctx, catalog, inFlight, b.purchase(catalog, b.anyBill))
	if err != nil {
		return err
	}
	half, err := b.offered(ctx, catalog, 2*inFlight, most.rate()/2, b.span, b.purchase(catalog, b.anyBill))
	if err != nil {
		return err
	}
	floorMost, _, err := b.floor.run(ctx, "uniform", 16, b.span/2)
	if err != nil {
		return err
	}
	floorHalf, err := b.floor.offered(ctx, "uniform", 16, floorMost/2, b.span)
	if err != nil {
		return err
	}
	b.add("pgbench at half its maximum rate, p99 / one client", "", "", floorHalf.Seconds()/floor.Seconds(), fmt.Sprintf("%.0f/s, p99 %s, one client %s", floorMost/2, ms(floorHalf), ms(floor)))
	b.add("one purchase at a time, p50 / pgbench, one client", "≤ 6", "", one.percentile(50).Seconds()/floor.Seconds(), figures(one))
	b.add("half the maximum rate, open loop, p99 / idle p50", "≤ 10", "", half.percentile(99).Seconds()/one.percentile(50).Seconds(), figures(half))
	return nil
}

func (b *bench) webhook(ctx context.Context) error {
	billing := b.addr(stack.Billing)
	uniformFloor, err := b.floor.best(ctx, "uniform", b.levels, b.span/2)
	if err != nil {
		return err
	}
	uniform, err := b.full(ctx, billing, inFlight, b.credit(billing, b.anyBill))
	if err != nil {
		return err
	}
	hotFloor, err := b.floor.best(ctx, "hot", b.levels, b.span/2)
	if err != nil {
		return err
	}
	hot, err := b.full(ctx, billing, inFlight, b.credit(billing, b.hotBill))
	if err != nil {
		return err
	}
	b.add("credits, all bills / pgbench", "≥ 1.5", "", uniform.rate()/uniformFloor, figures(uniform))
	b.add("credits, one bill / pgbench, one row", "≥ 6", "", hot.rate()/hotFloor, figures(hot))
	return nil
}

// steady looks for memory that grows under a load that does not: half of the
// maximum, in many measurements one after the other.
func (b *bench) steady(ctx context.Context) error {
	catalog := b.addr(stack.Catalog)
	most, err := b.full(ctx, catalog, inFlight, b.purchase(catalog, b.anyBill))
	if err != nil {
		return err
	}
	var first, last map[string]float64
	settled := b.steadyFor / 6
	for i := range b.steadyFor {
		s, err := b.offered(ctx, catalog, 2*inFlight, most.rate()/2, b.span, b.purchase(catalog, b.anyBill))
		if err != nil {
			return err
		}
		if i == settled-1 {
			first = s.memory
		}
		last = s.memory
	}
	for _, service := range stack.Services() {
		b.add(fmt.Sprintf("memory of %s after %v of half the maximum rate / after %v", service, time.Duration(b.steadyFor)*b.span, time.Duration(settled)*b.span), "≤ 1.1", "", last[service]/first[service],
			fmt.Sprintf("%.0f MiB, %.0f MiB", first[service], last[service]))
	}
	return nil
}

// overload asks for twice the maximum.
func (b *bench) overload(ctx context.Context) error {
	catalog := b.addr(stack.Catalog)
	buy := b.purchase(catalog, b.anyBill)
	most, err := b.full(ctx, catalog, inFlight, buy)
	if err != nil {
		return err
	}
	twice, err := b.offered(ctx, catalog, 4000, 2*most.rate(), 4*b.span, buy)
	if err != nil {
		return fmt.Errorf("twice the maximum: %w", err)
	}
	// It has so long to be normal again, while others go on buying.
	if err := closed(ctx, catalog, inFlight, 5*time.Second, buy).unexpected(); err != nil {
		return fmt.Errorf("after twice the maximum: %w", err)
	}
	after, err := b.full(ctx, catalog, inFlight, buy)
	if err != nil {
		return err
	}
	b.add("twice the maximum rate: completed / the maximum", "≥ 0.9", "", twice.rate()/most.rate(), fmt.Sprintf("%s; refusals: p50 %s, p99 %s; not sent for lack of a connection %d", figures(twice), ms(percentile(twice.others, 50)), ms(percentile(twice.others, 99)), twice.unasked))
	b.add("twice the maximum rate: p99 of completed purchases", "≤ 3 s", " s", twice.percentile(99).Seconds(), "")
	b.add("twice the maximum rate, over 4,000 connections: memory of catalog", "≤ 200 MiB", " MiB", twice.memory[stack.Catalog], "")
	b.add("five seconds after twice the maximum rate / before", "≥ 0.9", "", after.rate()/most.rate(), figures(after))
	return nil
}

// reads compares pages of 20 with a bare server that answers the same bytes.
func (b *bench) reads(ctx context.Context) error {
	for _, read := range []struct{ service, path string }{
		{stack.Billing, "/bills"}, {stack.Billing, "/transactions"}, {stack.Catalog, "/products"},
	} {
		addr := b.addr(read.service)
		one := b.get(addr, read.path+"?limit=20", []byte(`"items"`))
		body, err := b.sampleBody(addr, one)
		if err != nil {
			return err
		}
		echo, stop, err := startEcho(ctx, body, filepath.Join(b.work, "echo.json"))
		if err != nil {
			return err
		}
		bare, err := b.full(ctx, echo, 64, b.get(echo, "/", []byte(`"items"`)))
		if stopErr := stop(); err == nil {
			err = stopErr
		}
		if err != nil {
			return err
		}
		got, err := b.full(ctx, addr, 64, one)
		if err != nil {
			return err
		}
		b.add("GET "+read.path+", 20 rows / bare echo", "≥ 0.25", "", got.rate()/bare.rate(), fmt.Sprintf("%s; echo %.0f/s, %d bytes", figures(got), bare.rate(), len(body)))
	}
	return nil
}

func (b *bench) sampleBody(addr string, a ask) ([]byte, error) {
	w := newWorker(newClient(addr, 1), 1)
	w.one(a, time.Now())
	if w.kinds["ok"] != 1 {
		return nil, fmt.Errorf("%v", w.kinds)
	}
	return slices.Clone(w.resp.Body()), nil
}

// storm has four times as many logins asked for as are done, and looks at what
// is left of the purchases.
func (b *bench) storm(ctx context.Context) error {
	catalog := b.addr(stack.Catalog)
	calm, err := b.full(ctx, catalog, inFlight, b.purchase(catalog, b.anyBill))
	if err != nil {
		return err
	}
	stormy, end := context.WithCancel(ctx)
	logins := make(chan sample, 1)
	go func() { logins <- closed(stormy, b.addr(stack.Auth), 64, time.Hour, b.loginTo(b.addr(stack.Auth))) }()
	during, err := b.full(ctx, catalog, inFlight, b.purchase(catalog, b.anyBill))
	end()
	l := <-logins
	if err != nil {
		return err
	}
	if err := l.unexpected(); err != nil {
		return fmt.Errorf("logins: %w", err)
	}
	b.add("purchases during a storm of logins / before", "≥ 0.6", "", during.rate()/calm.rate(),
		fmt.Sprintf("%s; logins %.0f/s, %d refused, refusals: p99 %s", figures(during), l.rate(), len(l.others), ms(percentile(l.others, 99))))
	return nil
}
