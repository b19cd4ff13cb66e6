// Package postgres stores products, purchases and refunds in PostgreSQL.
package postgres

import (
	"embed"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"lavka/libs/service/opened"
	"lavka/libs/service/pg"
)

// Schema is the name of catalog's schema in the database.
const Schema = "catalog"

// InUse is an SQL condition: the shop has data (see lavka/libs/service/serving).
const InUse = `(EXISTS (SELECT FROM catalog.products) OR EXISTS (SELECT FROM catalog.purchases))`

// Migrations are the schema's versions.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Opened is the schema's gate for new kinds of rows.
var Opened = opened.Schema{Name: Schema, Migrations: Migrations, InUse: InUse}

// Store reads and writes catalog's tables.
type Store struct {
	reads      *pg.Reader    // short reads of requests
	expensive  *pg.Expensive // other reads of requests
	pool       *pgxpool.Pool // changes of products, and new refunds
	background *pgxpool.Pool // the sweeper, the count of pending purchases, commands
	groups     *pgxpool.Pool // transactions that place or settle groups
	terms      Terms

	refunds     pg.Queues[uuid.UUID] // of a purchase
	stocks      pg.Queues[int64]     // of a product
	frequencies frequencies          // of grams
}

// Terms are the time limits of a new purchase, counted from its creation by the
// database's clock.
type Terms struct {
	Wait   time.Duration // until the sweeper sends it again
	Expiry time.Duration // until billing declines it
}

// New returns a Store that uses pools of the role "catalog".
func New(pools *pg.Pools, groups *pgxpool.Pool, terms Terms) *Store {
	return &Store{reads: pools.Reads, expensive: pools.Expensive, pool: pools.Writes, background: pools.Background, groups: groups, terms: terms}
}
