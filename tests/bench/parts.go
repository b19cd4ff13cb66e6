package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"lavka/deploy/local/stack"
)

// bench is one run.
type bench struct {
	*shop
	size      size
	floor     *floor
	work      string
	only      string
	rounds    int
	span      time.Duration // of one measurement
	levels    []int         // numbers of clients
	steadyFor int           // measurements
	rows      []*row
	past      past
	curve     []point
	atRest    map[string]float64 // MiB that each service takes before anybody comes
	peak      map[string]float64 // the most it has taken under load
}

// past is what the shop is filled with, once, in the end.
type past struct{ payments, purchases int }

// point is what so many clients get done.
type point struct {
	clients int
	rate    float64
	p99     time.Duration
}

// row is a line of the table: what was measured in all rounds.
type row struct {
	name, target string
	values       []float64 // one a round
	unit         string    // of the values: "" for ratios, that have a target
	notes        []string
}

func (r *row) median() float64 { return median(r.values) }

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

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

func newBench(short bool, only string, span time.Duration) *bench {
	b := &bench{peak: map[string]float64{}, size: size{users: 1000, billsOfEach: 100, products: 1000}, rounds: 3, span: 8 * time.Second, levels: []int{8, 16, 32, 64}, steadyFor: 38, only: only}
	b.past = past{payments: 9_000_000, purchases: 1_000_000}
	if short {
		b.past = past{payments: 100_000, purchases: 10_000}
		b.size, b.rounds, b.span, b.levels, b.steadyFor = size{users: 20, billsOfEach: 50, products: 50}, 1, 2*time.Second, []int{8, 32}, 6
	}
	if span > 0 {
		b.span = span
	}
	return b
}

// inFlight is how many purchases are under way at a time.
const inFlight = 256

// part measures something, once a round.
type part struct {
	name string
	run  func(context.Context) error
}

func (b *bench) parts() []part {
	return []part{
		{"purchases", b.purchases},
		{"idle", b.idle},
		{"webhook", b.webhook},
		{"reads", b.reads},
		{"overload", b.overload},
		{"storm", b.storm},
	}
}

// load is the shop under purchases alone, to look at it with other tools; a part
// only when it is asked for by its name.
func (b *bench) load(ctx context.Context) error {
	replicas := b.addrs(stack.Catalog)
	s, err := b.watched(ctx, func() sample {
		each := make([]sample, len(replicas))
		var all sync.WaitGroup
		for i, addr := range replicas {
			all.Go(func() { each[i] = closed(ctx, addr, inFlight/len(replicas), b.span, b.purchase(addr, b.anyBill)) })
		}
		all.Wait()
		return together(each)
	})
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("purchases, all bills, replicas of each service: %d", len(replicas)), "", "/s", s.rate(), figures(s))
	return nil
}

func (b *bench) run(ctx context.Context) error {
	if b.only == "load" {
		return b.load(ctx)
	}
	if b.only == "" || b.only == "curve" {
		fmt.Println("more and more clients")
		if err := b.drawCurve(ctx); err != nil {
			return fmt.Errorf("curve: %w", err)
		}
	}
	for round := range b.rounds {
		for _, p := range b.parts() {
			if ok, err := filepath.Match(b.only, p.name); b.only != "" && !ok || err != nil {
				continue
			}
			fmt.Printf("round %d: %s\n", round+1, p.name)
			if err := p.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	if ok, err := filepath.Match(b.only, "steady"); b.only == "" || ok || err != nil {
		fmt.Println("memory, as time goes by")
		if err := errors.Join(err, b.steady(ctx)); err != nil {
			return fmt.Errorf("steady: %w", err)
		}
	}
	if ok, err := filepath.Match(b.only, "filled"); b.only != "" && !ok || err != nil {
		return err
	}
	fmt.Println("a shop with a past")
	return b.filled(ctx)
}

func (b *bench) add(name, target, unit string, value float64, note string) {
	i := slices.IndexFunc(b.rows, func(r *row) bool { return r.name == name })
	if i < 0 {
		i = len(b.rows)
		b.rows = append(b.rows, &row{name: name, target: target, unit: unit})
	}
	b.rows[i].values = append(b.rows[i].values, value)
	b.rows[i].notes = append(b.rows[i].notes, note)
	fmt.Printf("  %-60s %10.2f %s  (%s)\n", name, value, unit, note)
}

// full measures what so many clients get done, all of it as it should be.
func (b *bench) full(ctx context.Context, addr string, clients int, a ask) (sample, error) {
	return b.watched(ctx, func() sample { return closed(ctx, addr, clients, b.span, a) })
}

// offered measures what is done at a rate, all of it as it should be.
func (b *bench) offered(ctx context.Context, addr string, connections int, rate float64, span time.Duration, a ask) (sample, error) {
	return b.watched(ctx, func() sample { return open(ctx, addr, connections, rate, span, a) })
}

// watched adds what the measurement took of CPU and memory.
func (b *bench) watched(ctx context.Context, measure func() sample) (sample, error) {
	before, err := b.cpus()
	if err != nil {
		return sample{}, err
	}
	during, end := context.WithCancel(ctx)
	memory := make(chan map[string]float64, 1)
	failed := make(chan error, 1)
	go func() {
		most, err := b.watchMemory(during)
		memory <- most
		failed <- err
	}()
	s := measure()
	end()
	s.memory = <-memory
	if err := <-failed; err != nil {
		return s, err
	}
	for service, mib := range s.memory {
		b.peak[service] = max(b.peak[service], mib)
	}
	after, err := b.cpus()
	if err != nil {
		return s, err
	}
	s.cpu = map[string]time.Duration{}
	for part, had := range after {
		s.cpu[part] = had - before[part]
	}
	if err := s.unexpected(); err != nil {
		return s, err
	}
	return s, ctx.Err()
}

// each gives, in microseconds of CPU, what one answer took of each part.
func (s sample) each() string {
	var parts []string
	for _, part := range slices.Sorted(maps.Keys(s.cpu)) {
		if us := float64(s.cpu[part].Microseconds()) / float64(s.kinds["ok"]); us >= 0.5 {
			parts = append(parts, fmt.Sprintf("%s %.0f", part, us))
		}
	}
	return "µs each: " + strings.Join(parts, ", ")
}

func figures(s sample) string {
	return fmt.Sprintf("%.0f/s, p50 %s, p99 %s, generator %.0f %% of the CPU%s; %s", s.rate(), ms(s.percentile(50)), ms(s.percentile(99)), 100*s.generator, s.otherwise(), s.each())
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }

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
	b.add("memory of a service at full load, the most", "≤ 200 MiB", " MiB", slices.Max(slices.Collect(maps.Values(uniform.memory))), memories(uniform.memory))
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
	b.add("pgbench at half of its maximum, p99 / one client", "", "", floorHalf.Seconds()/floor.Seconds(), fmt.Sprintf("%.0f/s, p99 %s, one client %s", floorMost/2, ms(floorHalf), ms(floor)))
	b.add("one purchase at a time, p50 / pgbench, one client", "≤ 6", "", one.percentile(50).Seconds()/floor.Seconds(), figures(one))
	b.add("half of the maximum, open loop, p99 / idle p50", "≤ 10", "", half.percentile(99).Seconds()/one.percentile(50).Seconds(), figures(half))
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
		b.add(fmt.Sprintf("memory of %s after %v of half of the maximum / after %v", service, time.Duration(b.steadyFor)*b.span, time.Duration(settled)*b.span), "≤ 1.1", "", last[service]/first[service],
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
	after, err := b.full(ctx, catalog, inFlight, buy)
	if err != nil {
		return err
	}
	b.add("twice the maximum: done / the maximum", "≥ 0.9", "", twice.rate()/most.rate(), fmt.Sprintf("%s; refused after p50 %s, p99 %s; not asked for want of a connection %d", figures(twice), ms(percentile(twice.others, 50)), ms(percentile(twice.others, 99)), twice.unasked))
	b.add("twice the maximum: p99 of what was done", "≤ 3 s", " s", twice.percentile(99).Seconds(), "")
	b.add("twice the maximum, over 4,000 connections: memory of catalog", "≤ 200 MiB", " MiB", twice.memory[stack.Catalog], "")
	b.add("right after it / before", "≥ 0.9", "", after.rate()/most.rate(), figures(after))
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
	go func() { logins <- closed(stormy, b.addr(stack.Auth), 64, time.Hour, b.login()) }()
	during, err := b.full(ctx, catalog, inFlight, b.purchase(catalog, b.anyBill))
	end()
	l := <-logins
	if err != nil {
		return err
	}
	if err := l.unexpected(); err != nil {
		return fmt.Errorf("logins: %w", err)
	}
	b.add("purchases during a storm of logins / before", "≥ 0.5", "", during.rate()/calm.rate(),
		fmt.Sprintf("%s; logins done %.0f/s, refused %d, of these p99 after %s", figures(during), l.rate(), len(l.others), ms(percentile(l.others, 99))))
	return nil
}

// login is a login of anybody.
func (b *bench) login() ask {
	auth := b.addr(stack.Auth)
	return ask{
		fill: func(r *rand.Rand, req *fasthttp.Request) {
			prepare(req, auth, "POST", "/auth/login", "")
			req.Header.SetContentType("application/json")
			req.SetBodyString(`{"login":"` + b.users[r.IntN(len(b.users))].login + `","password":"` + password + `"}`)
		},
		kind: func(resp *fasthttp.Response) string { return answered(resp, 200, []byte(`"access_token"`)) },
	}
}
