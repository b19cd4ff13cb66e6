// Package serving decides whether a replica is ready that has not yet been able to do
// its work: to check a token, for example. It is not ready while another replica can:
// a rollout of replicas that can't would otherwise take those away that can. If none
// can, this is a cold start, and the replica serves what works (docs/adr/0063).
package serving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/problem"
	"lavka/libs/service/pg"
)

// Need is something that a replica must have had once to do its work.
type Need struct {
	Name string          // what the replica can't do without it: "check tokens"
	Met  <-chan struct{} // closed when it is met
	Why  func() error    // why it is not met yet; nil if nothing has failed yet
}

// Periods are how often a replica looks and writes, and what it concludes from.
type Periods struct {
	Write   time.Duration // from one seen_at to the next, of a replica that can work
	Fresh   time.Duration // an older seen_at means that no replica can
	Unknown time.Duration // how long a replica waits for a first seen_at, if the shop has data
	Look    time.Duration // from one look at seen_at to the next, of a replica that can't work
	Remind  time.Duration // from one warning to the next
}

// Default are the periods of the services. Tests use shorter ones.
var Default = Periods{Write: 10 * time.Second, Fresh: time.Minute, Unknown: 10 * time.Minute, Look: time.Second, Remind: time.Minute}

// Config configures New.
type Config struct {
	DB     pg.Querier
	Schema string
	// InUse is an SQL condition: the shop has data. If it has, and no replica has ever
	// written seen_at, the others may be of a release that does not write it.
	InUse   string
	Needs   []Need
	Log     *slog.Logger
	Periods Periods
}

// state is what a replica knows about itself and the others.
type state int

const (
	starting state = iota // nothing is known about the others yet
	waiting               // another replica can work, or may be able to
	cold                  // none can
	able                  // this one can, or could once
)

// Gate decides whether a replica is ready.
type Gate struct {
	cfg         Config
	look, write string // statements

	mu    sync.Mutex
	state state
}

// New returns a Gate. Run must run while the replica serves.
func New(cfg Config) *Gate {
	table := pgx.Identifier{cfg.Schema, "serving"}.Sanitize()
	return &Gate{
		cfg:  cfg,
		look: `SELECT (SELECT extract(epoch FROM clock_timestamp() - seen_at)::float8 FROM ` + table + `), ` + cfg.InUse,
		// Others must see it even while COMMIT waits for a standby. It is written again
		// soon, and so need not survive a crash.
		write: `WITH local AS (SELECT set_config('synchronous_commit', 'off', true))
			INSERT INTO ` + table + ` (seen_at) SELECT clock_timestamp() FROM local
			ON CONFLICT (one) DO UPDATE SET seen_at = excluded.seen_at`,
	}
}

// Run waits until all needs are met, and meanwhile looks whether another replica can
// work. From then on it lets the others know that this one can, until ctx ends.
func (g *Gate) Run(ctx context.Context) {
	if !g.wait(ctx) {
		return
	}
	g.set(able)
	tick := time.NewTicker(g.cfg.Periods.Write)
	defer tick.Stop()
	for failing := false; ; {
		limited, cancel := context.WithTimeout(ctx, g.cfg.Periods.Write)
		_, err := g.cfg.DB.Exec(limited, g.write)
		cancel()
		if err != nil && ctx.Err() == nil && !failing {
			g.cfg.Log.WarnContext(ctx, "can't write for the other replicas that this one works; retrying", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// wait returns when all needs are met, or false when ctx ends.
func (g *Gate) wait(ctx context.Context) bool {
	all := make(chan struct{})
	go func() {
		defer close(all)
		for _, need := range g.cfg.Needs {
			select {
			case <-need.Met:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { <-all }()
	tick := time.NewTicker(g.cfg.Periods.Look)
	defer tick.Stop()
	begin := time.Now()
	reminded := begin.Add(10*g.cfg.Periods.Look - g.cfg.Periods.Remind) // the first warning comes after ten looks
	for first := true; ; first = false {
		select {
		case <-all:
			return ctx.Err() == nil
		default:
		}
		before := g.current()
		failed := g.lookOnce(ctx, begin)
		now := g.current()
		if !first && (now != before || time.Since(reminded) >= g.cfg.Periods.Remind) {
			reminded = time.Now()
			reason := []any{"reason", g.Lacks()}
			if failed != nil {
				reason = append(reason, "error", failed) // whether another replica works is not known
			}
			g.cfg.Log.WarnContext(ctx, now.says(), reason...)
		}
		select {
		case <-all:
			return ctx.Err() == nil
		case <-tick.C:
		}
	}
}

func (g *Gate) lookOnce(ctx context.Context, begin time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, max(g.cfg.Periods.Look, time.Second))
	defer cancel()
	var age *float64 // in seconds, by the database's clock
	var inUse bool
	if err := g.cfg.DB.QueryRow(ctx, g.look).Scan(&age, &inUse); err != nil {
		return fmt.Errorf("read seen_at: %w", err)
	}
	var seen *time.Duration
	if age != nil {
		d := time.Duration(*age * float64(time.Second))
		seen = &d
	}
	g.set(conclude(seen, inUse, time.Since(begin), g.cfg.Periods))
	return nil
}

// conclude returns the state of a replica that can't work: given how long ago another
// one could (nil for never), whether the shop has data, and how long this one has
// looked. A seen_at in the future was written before the database's clock was set back,
// and is not believed for longer than another.
func conclude(seen *time.Duration, inUse bool, looked time.Duration, p Periods) state {
	switch {
	case seen != nil && seen.Abs() <= p.Fresh:
		return waiting
	case seen == nil && inUse && looked < p.Unknown:
		return waiting
	}
	return cold
}

func (s state) says() string {
	switch s {
	case cold:
		return "no replica can do all of its work; serving what works"
	case waiting:
		return "not ready: this replica can't do its work, and another one can or may be able to"
	}
	return "not ready: this replica can't do its work yet"
}

func (g *Gate) set(s state) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state != able {
		g.state = s
	}
}

func (g *Gate) current() state {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state
}

// Ready returns a check that passes when ready passes and the replica can do its work,
// or could once, or no replica can. Otherwise it returns the problem "unable".
func (g *Gate) Ready(ready func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := ready(ctx); err != nil {
			return err
		}
		if now := g.current(); now == starting || now == waiting {
			return problem.New(problem.Unavailable, "unable", now.says()+": "+g.Lacks())
		}
		return nil
	}
}

// Lacks returns what the replica has never been able to do, and why; "" if nothing.
func (g *Gate) Lacks() string {
	var lacks []string
	for _, need := range g.cfg.Needs {
		select {
		case <-need.Met:
			continue
		default:
		}
		why := need.Why()
		if why == nil {
			why = errors.New("still trying")
		}
		lacks = append(lacks, fmt.Sprintf("can't %s (%v)", need.Name, why))
	}
	return strings.Join(lacks, "; ")
}

// Measure registers the metrics of the replica's state.
func (g *Gate) Measure(registry prometheus.Registerer) {
	gauge := func(name, help string, in state) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if g.current() == in {
				return 1
			}
			return 0
		})
	}
	registry.MustRegister(
		gauge("serving_able", "1 once this replica has been able to do all of its work.", able),
		gauge("serving_cold_start", "1 while this replica is ready although it has never been able to do all of its work, because no replica is.", cold),
	)
}
