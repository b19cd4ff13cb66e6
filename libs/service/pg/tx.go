package pg

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const begin = `begin isolation level read committed`

// Tx is a READ COMMITTED transaction. Its BEGIN travels with its first batch, and
// its COMMIT can travel with the last. That saves round trips, for each of which
// all items of a group would wait. Only one goroutine may use a Tx.
type Tx struct {
	conn  *pgxpool.Conn // nil once the transaction has ended
	begun bool
}

// Begin starts a transaction. Commit or Rollback ends it; a Rollback after that
// does nothing.
func Begin(ctx context.Context, pool *pgxpool.Pool) (*Tx, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return &Tx{conn: conn}, nil
}

// SendBatch runs a batch. The callbacks of its statements receive the results.
func (t *Tx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return t.conn.SendBatch(ctx, t.withBegin(b))
}

func (t *Tx) withBegin(b *pgx.Batch) *pgx.Batch {
	if t.begun {
		return b
	}
	t.begun = true
	whole := &pgx.Batch{}
	whole.Queue(begin)
	whole.QueuedQueries = append(whole.QueuedQueries, b.QueuedQueries...)
	return whole
}

// CommitWith runs a last batch and commits, in one round trip. If the server
// refuses a statement of the batch, [CommitUnknown] is false for the error and
// nothing was committed. If no answer arrives, CommitUnknown is true.
func (t *Tx) CommitWith(ctx context.Context, b *pgx.Batch) error {
	whole := t.withBegin(b)
	reached := false // all statements before the COMMIT succeeded
	whole.Queue(`commit`).Fn = func(results pgx.BatchResults) error {
		reached = true
		tag, err := results.Exec()
		if err == nil && tag.String() != "COMMIT" {
			return pgx.ErrTxCommitRollback
		}
		return err
	}
	err := t.conn.SendBatch(ctx, whole).Close()
	_, said := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
		t.release()
		return nil
	case errors.Is(err, pgx.ErrTxCommitRollback) || pgconn.SafeToRetry(err) || said && !reached:
		t.Rollback(context.WithoutCancel(ctx))
		return fmt.Errorf("not committed: %w", err)
	}
	t.release()
	return &commitError{err}
}

// Exec runs a statement.
func (t *Tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if err := t.begin(ctx); err != nil {
		return pgconn.CommandTag{}, err
	}
	return t.conn.Exec(ctx, sql, args...)
}

// Query runs a statement that returns rows.
func (t *Tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := t.begin(ctx); err != nil {
		return nil, err
	}
	return t.conn.Query(ctx, sql, args...)
}

// QueryRow runs a statement that returns one row.
func (t *Tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if err := t.begin(ctx); err != nil {
		return noRow{err}
	}
	return t.conn.QueryRow(ctx, sql, args...)
}

type noRow struct{ err error }

func (r noRow) Scan(...any) error { return r.err }

func (t *Tx) begin(ctx context.Context) error {
	if t.begun {
		return nil
	}
	t.begun = true
	if _, err := t.conn.Exec(ctx, begin); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	return nil
}

// Commit commits the transaction. If [CommitUnknown] is true for the error, the
// transaction may or may not have been committed.
func (t *Tx) Commit(ctx context.Context) error {
	defer t.release()
	if !t.begun {
		return nil
	}
	tag, err := t.conn.Exec(ctx, `commit`)
	if err == nil && tag.String() != "COMMIT" { // a statement failed and its error was ignored
		return fmt.Errorf("commit: %w", pgx.ErrTxCommitRollback)
	}
	if err != nil {
		return &commitError{err}
	}
	return nil
}

// Rollback rolls the transaction back, unless it has ended. If the session does
// not answer, it is closed, which rolls back too.
func (t *Tx) Rollback(ctx context.Context) {
	if t.conn == nil {
		return
	}
	defer t.release()
	if t.begun && !t.conn.Conn().IsClosed() {
		// On failure the pool closes the session, since it is still in a transaction.
		_, _ = t.conn.Exec(ctx, `rollback`)
	}
}

func (t *Tx) release() {
	t.conn.Release()
	t.conn = nil
}
