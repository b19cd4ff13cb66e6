// Package postgres stores billing's data. Each exported method is one
// transaction or one statement, with two exceptions: OpenBill is several
// statements, and Settle is as many transactions as it takes until each item has
// a result.
package postgres

import (
	"context"
	"embed"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/pg"
)

// Schema is the name of billing's database schema.
const Schema = "billing"

// Migrations are the migrations of the schema.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Store reads and writes billing's data.
type Store struct {
	pool   *pgxpool.Pool // for reads
	reads  *pg.Reader    // for short reads, in groups
	ledger *pgxpool.Pool // for what moves money, so that reads can't delay it
	log    *slog.Logger
}

// New returns a Store that uses two pools of the role "billing"; they may be the
// same pool. Close the Store when it is no longer needed.
func New(reads, ledger *pgxpool.Pool, log *slog.Logger) *Store {
	return &Store{pool: reads, reads: pg.NewReader(reads), ledger: ledger, log: log}
}

// Close waits for the reads in flight and accepts no more.
func (s *Store) Close() { s.reads.Close() }

// Measure registers the metrics of the short reads.
func (s *Store) Measure(registry prometheus.Registerer) { s.reads.Measure(registry) }

// Ready returns an error unless Postgres responds and its schema is new enough.
func (s *Store) Ready(ctx context.Context) error {
	return pg.CheckVersion(ctx, s.pool, Schema, Migrations)
}

// forEach runs a statement and calls f with every row, without collecting them.
func forEach[T any](ctx context.Context, q pg.Querier, what string, f func(T) error, sql string) error {
	rows, err := q.Query(ctx, sql)
	if err != nil {
		return pg.Wrap(what, err)
	}
	defer rows.Close()
	for rows.Next() {
		row, err := pgx.RowToStructByPos[T](rows)
		if err != nil {
			return pg.Wrap(what, err)
		}
		if err := f(row); err != nil {
			return err
		}
	}
	return pg.Wrap(what, rows.Err())
}
