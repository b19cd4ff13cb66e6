// Package postgres stores billing's data. Each exported method is one
// transaction or one statement, with two exceptions: OpenBill is one transaction
// for each id that it tries, and Settle is as many transactions as it takes until
// each item has a result.
package postgres

import (
	"context"
	"embed"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lavka/libs/service/opened"
	"lavka/libs/service/pg"
)

// Schema is the name of billing's database schema.
const Schema = "billing"

// InUse is an SQL condition: the shop has data (see lavka/libs/service/serving).
const InUse = `EXISTS (SELECT FROM billing.bills)`

// Migrations are the migrations of the schema.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Opened is the schema's gate for new kinds of rows.
var Opened = opened.Schema{
	Name: Schema, Migrations: Migrations, InUse: InUse,
	Obsolete: []string{"bills_of_user", "transactions_by_bill", "transactions_by_user"}, // see ADR 87
}

// Store reads and writes billing's data.
type Store struct {
	reads      *pg.Reader    // short reads of requests
	expensive  *pg.Expensive // other reads of requests
	pool       *pgxpool.Pool // new bills and customers
	background *pgxpool.Pool // messages, metrics, commands
	ledger     *pgxpool.Pool // what moves money, so that nothing else can delay it
	log        *slog.Logger

	openers pg.Queues[int64] // users who open bills
}

// New returns a Store that uses pools of the role "billing".
func New(pools *pg.Pools, ledger *pgxpool.Pool, log *slog.Logger) *Store {
	return &Store{reads: pools.Reads, expensive: pools.Expensive, pool: pools.Writes, background: pools.Background, ledger: ledger, log: log}
}

// forEach runs a statement and calls f with every row, without collecting them.
func forEach[T any](ctx context.Context, q pg.Querier, what string, f func(T) error, sql string) error {
	rows, err := q.Query(ctx, sql)
	if err != nil {
		return pg.Wrap(what, err)
	}
	defer rows.Close()
	for rows.Next() {
		row, err := pgx.RowToStructByPos[T](rows)
		if err != nil {
			return pg.Wrap(what, err)
		}
		if err := f(row); err != nil {
			return err
		}
	}
	return pg.Wrap(what, rows.Err())
}
