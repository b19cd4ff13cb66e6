package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lavka/tests/hostile"
)

// bench is one run.
type bench struct {
	*shop
	size      size
	floor     *floor
	root      string // the repository
	work      string // the directory of the main shop; it has bin/ and the other shops' directories, too
	only      string
	rounds    int
	turns     int           // see turn
	calm      time.Duration // before the memory at rest is measured
	span      time.Duration // of one measurement
	levels    []int         // numbers of clients
	steadyFor int           // measurements
	rows      []*row
	past      past
	year      past
	fullFor   time.Duration // load on the shop with a year's data
	history   history
	flatRows  int // with which reads are counted; 0: not at all, CI's tests do it with a million
	curve     []point
	atRest    map[string]float64 // MiB that each service uses before the first client
	peak      map[string]float64 // the most it has taken under load
}

// history is what the hostile user's shop is filled with.
type history struct{ rows, products int }

// point is the throughput and latency at a number of clients.
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

func newBench(short bool, only string, span time.Duration) *bench {
	b := &bench{peak: map[string]float64{}, size: size{users: 1000, billsOfEach: 100, products: 1000}, rounds: 3, turns: 15, calm: 10 * time.Second, span: 8 * time.Second, levels: []int{8, 16, 32, 64}, steadyFor: 38, only: only}
	b.past = past{transactions: 10_000_000}
	b.year, b.fullFor = past{transactions: 100_000_000, users: 1_000_000, heavy: true}, 30*time.Minute
	b.history, b.flatRows = history{hostile.Rows, hostile.Products}, 10_000_000
	if short {
		b.history, b.flatRows = history{rows: 20_000, products: 20_000}, 0
		b.past = past{transactions: 100_000}
		b.year, b.fullFor = past{transactions: 100_000, users: 2000, heavy: true}, 30*time.Second
		b.size, b.rounds, b.turns, b.calm, b.span, b.levels, b.steadyFor = size{users: 20, billsOfEach: 50, products: 50}, 1, 2, time.Second, time.Second, []int{8, 32}, 6
	}
	if span > 0 {
		b.span = span
	}
	return b
}

// bin holds the services' binaries.
func (b *bench) bin() string { return filepath.Join(b.work, "bin") }

// part measures something.
type part struct {
	name string
	run  func(context.Context) error
}

// parts are measured once a round.
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

// onceParts have rounds of their own. The last ones fill the shop.
func (b *bench) onceParts() []part {
	parts := []part{{"traces", b.traced}, {"hostile", b.hostileUser}}
	if b.flatRows > 0 {
		parts = append(parts, part{"flat", b.flat})
	}
	return append(parts, part{"steady", b.steady}, part{"filled", b.filled}, part{"export", b.exporting})
}

// wants reports whether a part is to be measured.
func (b *bench) wants(name string) bool {
	ok, _ := filepath.Match(b.only, name) // main has checked the pattern
	return b.only == "" || ok
}

func (b *bench) run(ctx context.Context) error {
	switch b.only {
	case "load":
		return b.load(ctx)
	case "replicas":
		return b.replicas(ctx)
	case "year":
		return b.aYear(ctx)
	}
	if b.wants("curve") {
		fmt.Println("more and more clients")
		if err := b.drawCurve(ctx); err != nil {
			return fmt.Errorf("curve: %w", err)
		}
	}
	for round := range b.rounds {
		for _, p := range b.parts() {
			if !b.wants(p.name) {
				continue
			}
			fmt.Printf("round %d: %s\n", round+1, p.name)
			if err := p.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	for _, p := range b.onceParts() {
		if !b.wants(p.name) {
			continue
		}
		fmt.Println(p.name)
		if err := p.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if len(b.rows) == 0 && len(b.curve) == 0 {
		return fmt.Errorf("no part is called %s", b.only)
	}
	return nil
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

// full measures the throughput of a number of clients, and checks every response.
func (b *bench) full(ctx context.Context, addr string, clients int, a ask) (sample, error) {
	return b.watched(ctx, func() sample { return closed(ctx, addr, clients, b.span, a) })
}

// offered measures what is done at a rate, all of it as it should be.
func (b *bench) offered(ctx context.Context, addr string, connections int, rate float64, span time.Duration, a ask) (sample, error) {
	return b.watched(ctx, func() sample { return open(ctx, addr, connections, rate, span, a) })
}

// watched adds what the measurement took of CPU, memory and flushes.
func (b *bench) watched(ctx context.Context, measure func() sample) (sample, error) {
	flushed, err := b.flushed(ctx)
	if err != nil {
		return sample{}, err
	}
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
	now, err := b.flushed(ctx)
	if err != nil {
		return s, err
	}
	s.flushes = now.since(flushed)
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
	return fmt.Sprintf("%.0f/s, p50 %s, p99 %s, generator %.0f %% of the CPU%s; %s%s", s.rate(), ms(s.percentile(50)), ms(s.percentile(99)), 100*s.generator, s.otherwise(), s.each(), s.flushes)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }
