// Package postgres keeps the catalog in PostgreSQL.
package postgres

import (
	"context"
	"embed"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/pg"
)

// Schema is the name of catalog's schema.
const Schema = "catalog"

// Migrations are the schema's versions.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Store is the catalog's tables.
type Store struct {
	pool   *pgxpool.Pool // for all but groups
	reads  *pg.Reader    // for short reads
	groups *pgxpool.Pool // for transactions that settle groups
	terms  Terms
}

// Terms are the times of a new purchase, by the database's clock.
type Terms struct {
	Wait   time.Duration // until it is sent again
	Expiry time.Duration // until billing declines it
}

// New makes a Store on pools of the role "catalog". Close ends it.
func New(reads, groups *pgxpool.Pool, terms Terms) *Store {
	return &Store{pool: reads, reads: pg.NewReader(reads), groups: groups, terms: terms}
}

// Close waits for the reads that are under way.
func (s *Store) Close() { s.reads.Close() }

// Measure adds metrics of the short reads.
func (s *Store) Measure(registry prometheus.Registerer) { s.reads.Measure(registry) }

// Ready fails unless Postgres answers and its schema is new enough.
func (s *Store) Ready(ctx context.Context) error {
	return pg.CheckVersion(ctx, s.pool, Schema, Migrations)
}
