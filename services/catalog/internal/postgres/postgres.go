// Package postgres keeps the catalog in PostgreSQL.
package postgres

import (
	"context"
	"embed"
	"errors"
	"io"
	"io/fs"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"lavka/libs/pg"
	"lavka/libs/problem"
	"lavka/services/catalog/internal/catalog"
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
	pool  *pgxpool.Pool
	terms Terms
}

// Terms are the times of a new purchase, by the database's clock.
type Terms struct {
	Wait   time.Duration // until it is sent again
	Expiry time.Duration // until billing declines it
}

// New makes a Store.
func New(pool *pgxpool.Pool, terms Terms) *Store { return &Store{pool, terms} }

// explain makes the problem "unavailable" of an error that says that the
// database is away, overrun or being switched over. Any other stays as it is:
// a fault of ours, or a problem already.
func explain(err error) error {
	var p *problem.Error
	if err == nil || errors.As(err, &p) || !passing(err) {
		return err
	}
	return catalog.ErrUnavailable.Because(err)
}

// passing reports whether an error says something about the moment and not
// about the statement: no answer of the server, a lost race, or the SQLSTATE
// classes 08 (connection), 25 (read-only: a standby), 53 (resources) and 57
// (shutdown, time limit).
func passing(err error) bool {
	if pg.Again(err) || pg.LockTimeout(err) || pgconn.SafeToRetry(err) {
		return true
	}
	if code := pg.Code(err); code != "" {
		return slices.Contains([]string{"08", "25", "53", "57"}, code[:2])
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
