package pg

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Snapshot calls f with a read-only transaction whose statements all see the state of
// one moment, at. None of them has a time limit: this is for commands that read whole
// tables while the service is running. It returns f's error as it is.
//
// The server joins without nested loops: while it has no statistics of a table that has
// just been filled, it takes it for small, and the time of a loop over two whole tables
// is the product of their sizes.
func Snapshot(ctx context.Context, pool *pgxpool.Pool, f func(tx pgx.Tx, at time.Time) error) error {
	tx, err := pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return Wrap("begin", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL enable_nestloop = off`); err != nil {
		return Wrap("set limits", err)
	}
	var at time.Time
	if err := tx.QueryRow(ctx, `SELECT now()`).Scan(&at); err != nil {
		return Wrap("read the time", err)
	}
	return f(tx, at)
}
