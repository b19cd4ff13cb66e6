// Package postgres stores products and purchases in PostgreSQL.
package postgres

import (
	"context"
	"embed"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/pg"
)

// Schema is the name of catalog's schema in the database.
const Schema = "catalog"

// Migrations are the schema's versions.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Store reads and writes catalog's tables.
type Store struct {
	pool   *pgxpool.Pool // for everything but groups
	reads  *pg.Reader    // for short reads
	groups *pgxpool.Pool // for transactions that place or settle groups
	terms  Terms
}

// Terms are the time limits of a new purchase, counted from its creation by the
// database's clock.
type Terms struct {
	Wait   time.Duration // until the sweeper sends it again
	Expiry time.Duration // until billing declines it
}

// New returns a Store that uses pools of the role "catalog". Close ends it.
func New(reads, groups *pgxpool.Pool, terms Terms) *Store {
	return &Store{pool: reads, reads: pg.NewReader(reads), groups: groups, terms: terms}
}

// Close waits for the reads in flight.
func (s *Store) Close() { s.reads.Close() }

// Measure registers metrics of the short reads.
func (s *Store) Measure(registry prometheus.Registerer) { s.reads.Measure(registry) }

// Ready returns an error unless Postgres answers and its schema is at least as
// new as this release requires.
func (s *Store) Ready(ctx context.Context) error {
	return pg.CheckVersion(ctx, s.pool, Schema, Migrations)
}
