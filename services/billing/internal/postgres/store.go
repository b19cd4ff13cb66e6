// Package postgres keeps billing's facts. Each exported method is one
// transaction, or one statement; OpenBill is several statements, and Settle as
// many transactions as it takes until each item is decided or given back.
package postgres

import (
	"context"
	"embed"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/pg"
)

// Schema is the name of billing's schema.
const Schema = "billing"

// Migrations are the schema's versions.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Store is billing's part of the database.
type Store struct {
	pool   *pgxpool.Pool // for reads
	reads  *pg.Reader    // for the short ones among them
	ledger *pgxpool.Pool // for what moves money, so that reads can't hold it up
	log    *slog.Logger
}

// New makes a Store on pools of the role "billing", which may be one. Close
// ends it.
func New(reads, ledger *pgxpool.Pool, log *slog.Logger) *Store {
	return &Store{pool: reads, reads: pg.NewReader(reads), ledger: ledger, log: log}
}

// Close waits for the reads that are under way.
func (s *Store) Close() { s.reads.Close() }

// Measure adds metrics of the short reads.
func (s *Store) Measure(registry prometheus.Registerer) { s.reads.Measure(registry) }

// Ready fails unless Postgres answers and its schema is new enough.
func (s *Store) Ready(ctx context.Context) error {
	return pg.CheckVersion(ctx, s.pool, Schema, Migrations)
}
