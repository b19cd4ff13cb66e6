// Package postgres keeps auth's facts. Each exported method is one
// transaction, or one statement; RepublishAll and Prune are several, each of
// which stands by itself.
package postgres

import (
	"context"
	"embed"

	"github.com/jackc/pgx/v5/pgxpool"

	"lavka/libs/service/pg"
)

// Schema is the name of auth's schema.
const Schema = "auth"

// Migrations are the schema's versions.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Store is auth's part of the database.
type Store struct {
	pool *pgxpool.Pool
}

// New makes a Store on a pool of the role "auth".
func New(pool *pgxpool.Pool) *Store { return &Store{pool} }

// Ready fails unless Postgres answers and its schema is new enough.
func (s *Store) Ready(ctx context.Context) error {
	return pg.CheckVersion(ctx, s.pool, Schema, Migrations)
}

const (
	raceTries = 3
	// lockTries is how often a row is waited for, a quarter of a second each
	// time: for longer than the two seconds after which the server ends a replica
	// that froze while it held the row.
	lockTries = 12
)

// inTx runs f in a transaction, again when it lost a race.
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
