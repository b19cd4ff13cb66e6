// Package postgres stores auth's users and sessions. Each exported method is one
// transaction or one statement, except TokenVersions, Prune and ClearSalts, which run
// several that are independent of each other.
package postgres

import (
	"context"
	"embed"

	"github.com/jackc/pgx/v5/pgxpool"

	"lavka/libs/service/opened"
	"lavka/libs/service/pg"
	"lavka/services/auth/internal/auth"
)

// Schema is the name of auth's database schema.
const Schema = "auth"

// InUse is an SQL condition: the shop has data (see lavka/libs/service/serving). More than the first admin, whom this replica may have created.
const InUse = `(SELECT count(*) > 1 FROM (SELECT FROM auth.users LIMIT 2) AS users)`

// Migrations are the migrations of the schema.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Opened is the schema's gate for new kinds of rows.
var Opened = opened.Schema{Name: Schema, Migrations: Migrations, InUse: InUse}

// Store reads and writes auth's data.
type Store struct {
	reads      *pg.Reader    // short reads of requests
	expensive  *pg.Expensive // other reads of requests
	pool       *pgxpool.Pool // transactions of requests
	background *pgxpool.Pool // the publisher, pruning, metrics

	users  pg.Queues[int64]          // who end a session or get a link
	tokens pg.Queues[auth.TokenHash] // refresh tokens and links of both kinds that are being used
}

// New returns a Store on pools of the database role "auth".
func New(pools *pg.Pools) *Store {
	return &Store{reads: pools.Reads, expensive: pools.Expensive, pool: pools.Writes, background: pools.Background}
}

const raceTries = 3

// inTx runs f in a transaction of a request. It retries after a conflict with
// another transaction.
func (s *Store) inTx(ctx context.Context, what string, f func(*pg.Tx) error) error {
	return inTx(ctx, s.pool, what, f)
}

func inTx(ctx context.Context, pool *pgxpool.Pool, what string, f func(*pg.Tx) error) error {
	for races := 1; ; races++ {
		err := pg.InTx(ctx, pool, f)
		_, taken := pg.UniqueViolation(err)
		if !pg.Again(err) || pg.CommitUnknown(err) || taken || races == raceTries {
			return pg.Wrap(what, err)
		}
	}
}
