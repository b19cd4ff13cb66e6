// Package postgres keeps auth's facts. Each exported method is one
// transaction, or one statement.
package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"lavka/libs/pg"
	"lavka/libs/problem"
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

// ErrUnavailable is what a client hears when the database is away or busy.
var ErrUnavailable = problem.New(problem.Unavailable, "service_unavailable", "the database can't answer right now; try again").Retry(time.Second)

// inTx runs f in a transaction, again when it lost a race.
func (s *Store) inTx(ctx context.Context, what string, f func(pgx.Tx) error) error {
	for try := 1; ; try++ {
		err := pg.InTx(ctx, s.pool, f)
		if err == nil {
			return nil
		}
		lost := pg.LockTimeout(err) || (pg.Again(err) && !pg.CommitUnknown(err) && pg.Code(err) != uniqueViolation)
		if !lost || try == 3 {
			return fail(what, err)
		}
	}
}

const uniqueViolation = "23505"

// fail names what failed, and makes an absent or busy server a problem that
// says so. Problems pass as they are.
func fail(what string, err error) error {
	var p *problem.Error
	if errors.As(err, &p) {
		return err
	}
	err = fmt.Errorf("%s: %w", what, err)
	if unavailable(err) {
		return ErrUnavailable.Because(err)
	}
	return err
}

func unavailable(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	code := pg.Code(err)
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) ||
		pg.LockTimeout(err) || pg.CommitUnknown(err) ||
		// No connection, no resources, an operator's intervention, a time limit.
		strings.HasPrefix(code, "08") || strings.HasPrefix(code, "53") || strings.HasPrefix(code, "57")
}
