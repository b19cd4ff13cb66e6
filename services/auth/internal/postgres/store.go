// Package postgres keeps auth's facts. Each exported method is one
// transaction, or one statement.
package postgres

import (
	"context"
	"embed"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lavka/libs/pg"
)

// Schema is the name of auth's schema.
const Schema = "auth"

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the schema's versions.
func Migrations() fs.FS {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	return sub
}

// Store is auth's part of the database.
type Store struct {
	pool    *pgxpool.Pool
	version int64
}

// New makes a Store on a pool of the role "auth".
func New(pool *pgxpool.Pool) (*Store, error) {
	version, err := pg.LastVersion(Migrations())
	if err != nil {
		return nil, err
	}
	return &Store{pool: pool, version: version}, nil
}

// Ready fails unless Postgres answers and its schema is new enough.
func (s *Store) Ready(ctx context.Context) error {
	return pg.CheckVersion(ctx, s.pool, Schema, s.version)
}

// inTx runs f in a transaction, again when it lost a race.
func (s *Store) inTx(ctx context.Context, what string, f func(pgx.Tx) error) error {
	for try := 1; ; try++ {
		err := pg.InTx(ctx, s.pool, f)
		if err == nil {
			return nil
		}
		_, taken := pg.UniqueViolation(err)
		lost := pg.LockTimeout(err) || (pg.Again(err) && !pg.CommitUnknown(err) && !taken)
		if !lost || try == 3 {
			return pg.Fail(what, err)
		}
	}
}
