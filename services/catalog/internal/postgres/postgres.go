// Package postgres keeps the catalog in PostgreSQL.
package postgres

import (
	"embed"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/pg"
)

// Schema is the service's own.
const Schema = "catalog"

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the schema's, in order.
func Migrations() fs.FS {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return sub
}

// Store is the catalog's tables.
type Store struct {
	pool   *pgxpool.Pool
	groups *pgxpool.Pool // for transactions that settle groups
	reads  *pg.Reader    // for short ones
	terms  Terms
}

// Terms are the times of a new purchase, by the database's clock.
type Terms struct {
	Wait   time.Duration // until it is sent again
	Expiry time.Duration // until billing declines it
}

// New makes a Store of a pool of each kind; Close ends it.
func New(pool, groups *pgxpool.Pool, terms Terms) *Store {
	return &Store{pool, groups, pg.NewReader(pool), terms}
}

// Close waits for the reads that are under way.
func (s *Store) Close() { s.reads.Close() }

// Measure adds metrics of the short reads.
func (s *Store) Measure(registry prometheus.Registerer) { s.reads.Measure(registry) }
