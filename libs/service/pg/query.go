package pg

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Querier runs statements: a [pgxpool.Pool] in a session of its own, a [Tx]
// within its transaction. Reads that requests wait for go through a [Reader] or an
// [Expensive] instead; tests/architecture checks that they do.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Rows runs a statement and returns its rows, each scanned by scan. Its errors
// are those of [Wrap] and of the claim of ctx (see [bytelimit.From]).
func Rows[T any](ctx context.Context, q Querier, what string, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	found, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, Wrap(what, err)
	}
	rows, err := pgx.CollectRows(found, claimed(ctx, scan))
	return rows, Wrap(what, err)
}

// One runs a statement and returns its first row, scanned by scan. Without a row
// it returns missing; its other errors are those of [Wrap] and of the claim of ctx
// (see [bytelimit.From]).
func One[T any](ctx context.Context, q Querier, what string, missing error, scan pgx.RowToFunc[T], sql string, args ...any) (T, error) {
	var none T
	found, err := q.Query(ctx, sql, args...)
	if err != nil {
		return none, Wrap(what, err)
	}
	row, err := pgx.CollectOneRow(found, claimed(ctx, scan))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return none, missing
	case err != nil:
		return none, Wrap(what, err)
	}
	return row, nil
}
