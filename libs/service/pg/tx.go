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
// its COMMIT can travel with the last: fewer round trips, in each of which
// everybody in a group waits. It belongs to one goroutine.
type Tx struct {
	conn  *pgxpool.Conn // nil once it has ended
	begun bool
}

// Begin starts a transaction. Commit or Rollback ends it; what comes after that
// does nothing.
func Begin(ctx context.Context, pool *pgxpool.Pool) (*Tx, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return &Tx{conn: conn}, nil
}

// SendBatch runs a batch, whose results come by the callbacks of its statements.
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

// CommitWith runs a last batch and ends the transaction as Commit does, in one
// round trip. What the batch is refused for is an error for which [CommitUnknown]
// is false; that its answer did not come leaves all of it open.
func (t *Tx) CommitWith(ctx context.Context, b *pgx.Batch) error {
	whole := t.withBegin(b)
	reached := false // all before it were done
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

// Query runs a statement that gives rows.
func (t *Tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := t.begin(ctx); err != nil {
		return nil, err
	}
	return t.conn.Query(ctx, sql, args...)
}

// QueryRow runs a statement that gives one row.
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

// Commit ends the transaction and keeps what it has done. An error for which
// [CommitUnknown] is true leaves open whether it did.
func (t *Tx) Commit(ctx context.Context) error {
	defer t.release()
	if !t.begun {
		return nil
	}
	tag, err := t.conn.Exec(ctx, `commit`)
	if err == nil && tag.String() != "COMMIT" { // a statement had failed, and somebody passed over it
		return fmt.Errorf("commit: %w", pgx.ErrTxCommitRollback)
	}
	if err != nil {
		return &commitError{err}
	}
	return nil
}

// Rollback ends the transaction, unless Commit has, and undoes it. A session that
// can't be asked for that is closed, which comes to the same.
func (t *Tx) Rollback(ctx context.Context) {
	if t.conn == nil {
		return
	}
	defer t.release()
	if t.begun && !t.conn.Conn().IsClosed() {
		// The pool closes a session that is still within a transaction.
		_, _ = t.conn.Exec(ctx, `rollback`)
	}
}

func (t *Tx) release() {
	t.conn.Release()
	t.conn = nil
}
