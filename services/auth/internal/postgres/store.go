// Package postgres stores auth's users and sessions. Each exported method is one
// transaction or one statement, except RepublishAll and Prune, which run several
// that are independent of each other.
package postgres

import (
	"context"
	"embed"

	"github.com/jackc/pgx/v5/pgxpool"

	"lavka/libs/service/pg"
)

// Schema is the name of auth's database schema.
const Schema = "auth"

// Migrations are the migrations of the schema.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Store reads and writes auth's data.
type Store struct {
	pool *pgxpool.Pool
}

// New returns a Store on a pool of the database role "auth".
func New(pool *pgxpool.Pool) *Store { return &Store{pool} }

// Ready returns an error unless Postgres answers and its schema is at least as new
// as this release.
func (s *Store) Ready(ctx context.Context) error {
	return pg.CheckVersion(ctx, s.pool, Schema, Migrations)
}

const (
	raceTries = 3
	// lockTries is how often a transaction waits for a locked row, 250 ms each time.
	// The sum is longer than the two seconds after which Postgres ends the
	// transaction of a replica that froze while holding the lock.
	lockTries = 12
)

// inTx runs f in a transaction. It retries after a conflict with another
// transaction, and while a row is locked.
func (s *Store) inTx(ctx context.Context, what string, f func(*pg.Tx) error) error {
	for races, waits := 1, 1; ; {
		err := pg.InTx(ctx, s.pool, f)
		_, taken := pg.UniqueViolation(err)
		switch {
		case err == nil:
			return nil
		case pg.LockTimeout(err) && waits < lockTries:
			waits++
		case pg.Again(err) && !pg.CommitUnknown(err) && !taken && races < raceTries:
			races++
		default:
			return pg.Wrap(what, err)
		}
	}
}
