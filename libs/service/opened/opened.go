// Package opened is the gate for new kinds of rows. The release before runs beside this
// one during a rollout, and does not understand them. So the row <schema>.opened holds
// the level up to which replicas may write new kinds. An operator raises it with
// migrate finish when no replica of the release before is left (docs/adr/0070).
package opened

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/problem"
	"lavka/libs/service/pg"
)

// The levels. Each includes those below it.
const (
	Refunds = 1 // refunds, reversals, the role support
	Shelf   = 2 // a quantity above 1, limited stock, a product's status other than active
)

// Highest is the highest level that this release knows, to which it raises the gate.
const Highest = Shelf

const (
	lookEvery = time.Second
	lookLimit = 5 * time.Second
)

// ErrNotYet means that the gate is closed: replicas of the release before may be running.
var ErrNotYet = problem.New(problem.Unavailable, "not_open_yet",
	"this is not available until the upgrade of the shop is complete; nothing was done; retry later").Retry(30 * time.Second)

func table(schema string) string { return pgx.Identifier{schema, "opened"}.Sanitize() }

// At returns ErrNotYet until the gate of a schema is open for level. A replica that asks
// often has a [Gate].
func At(ctx context.Context, q pg.Querier, schema string, level int64) error {
	now, err := read(ctx, q, schema)
	if err == nil && now < level {
		err = ErrNotYet
	}
	return err
}

func read(ctx context.Context, q pg.Querier, schema string) (level int64, err error) {
	if err := q.QueryRow(ctx, `SELECT level FROM `+table(schema)).Scan(&level); err != nil {
		return 0, fmt.Errorf("read the level: %w", err)
	}
	return level, nil
}

// Gate is a replica's view of the level. It may be a second old.
type Gate struct {
	db     pg.Querier
	schema string
	log    *slog.Logger
	level  atomic.Int64
}

// NewGate returns the Gate of a schema, closed until Run has read the level.
func NewGate(db pg.Querier, schema string, log *slog.Logger) *Gate {
	return &Gate{db: db, schema: schema, log: log}
}

// At returns ErrNotYet until the gate is open for level.
func (g *Gate) At(level int64) error {
	if g.level.Load() < level {
		return ErrNotYet
	}
	return nil
}

// Run reads the level once a second until ctx ends. While it can't be read, the level
// stays as it was: it is never lowered.
func (g *Gate) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for failing := false; ; {
		err := g.runOnce(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			g.log.WarnContext(ctx, "can't read which kinds of rows may be written; retrying", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (g *Gate) runOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	level, err := read(ctx, g.db, g.schema)
	if err != nil {
		return err
	}
	if before := g.level.Swap(level); before != level {
		g.log.InfoContext(ctx, "the gate for new kinds of rows", "level", level, "before", before)
	}
	return nil
}

// Measure registers the metric of the level.
func (g *Gate) Measure(registry prometheus.Registerer) {
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "schema_opened_level", Help: "The level up to which this replica may write new kinds of rows; migrate finish raises it.",
	}, func() float64 { return float64(g.level.Load()) }))
}
