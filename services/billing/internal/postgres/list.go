package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/domain/filter"
	"lavka/libs/service/pg"
)

// margin is by how much the times of two rows may differ from the order of their ids. A
// row gets its id after its bill was locked, and its time before the group's time limit
// (groupTimeout) ends. The rest is for a clock that steps back.
const margin = time.Minute

// list is a list of rows, newest first, of a table whose ids and times rise together but
// for the margin (docs/adr/0077).
type list[T any] struct {
	table   string
	id      string // the column of the ids
	at      string // the column of the rows' times
	join    string // after the table
	columns string
	place   func(T) (id int64, at time.Time)

	owner      string // the column of the owner whose rows are listed; "" for those of all
	ownerID    int64
	conditions []condition
	when       filter.Range
}

// condition is SQL with a %s for the value.
type condition struct {
	sql    string
	values []any
}

func (l *list[T]) where(sql string, values ...any) {
	l.conditions = append(l.conditions, condition{sql, values})
}

func (l *list[T]) of(owner string, id int64) { l.owner, l.ownerID = owner, id }

// newest returns at most limit rows whose ids are below before, if it is set. read runs
// a statement.
func (l *list[T]) newest(ctx context.Context, read func(ctx context.Context, sql string, args ...any) ([]T, error), before *int64, limit int) ([]T, error) {
	at := func(row T) time.Time { _, t := l.place(row); return t }
	return pg.Newest(limit, l.when.From, margin, at, func(after *T, rows int) ([]T, error) {
		below := before
		if after != nil {
			id, _ := l.place(*after)
			below = &id
		}
		sql, args := l.statement(below, rows)
		return read(ctx, sql, args...)
	})
}

// expensively returns a function that reads rows as [pg.CollectExpensive] does.
func expensively[T any](s *Store, scan pgx.RowToFunc[T], what string) func(ctx context.Context, sql string, args ...any) ([]T, error) {
	return func(ctx context.Context, sql string, args ...any) ([]T, error) {
		return pg.CollectExpensive(ctx, s.expensive, what, scan, sql, args...)
	}
}

// statement returns the statement of a page and its arguments.
//
// Where the rows are those of an owner, the owner is part of the order: the order by id
// alone would also be the primary key's (ADR 46).
func (l *list[T]) statement(before *int64, rows int) (sql string, args []any) {
	args = []any{rows}
	arg := func(value any) string {
		args = append(args, value)
		return fmt.Sprint("$", len(args))
	}
	var where, limits []string
	order := l.id + ` DESC`
	if l.owner != "" {
		order = l.owner + ` DESC, ` + order
		where = append(where, l.owner+` >= `+arg(l.ownerID)) // $2
	}
	for _, c := range l.conditions {
		names := make([]any, len(c.values))
		for i, value := range c.values {
			names[i] = arg(value)
		}
		where = append(where, fmt.Sprintf(c.sql, names...))
	}
	if before != nil {
		limits = append(limits, arg(*before))
	}
	if to := l.when.To; to != nil {
		limits = append(limits, l.since(arg(to.Add(margin))))
		where = append(where, l.time()+` < `+arg(*to))
	}
	if from := l.when.From; from != nil && l.owner == "" {
		where = append(where, l.id+` >= `+l.since(arg(from.Add(-margin))), l.time()+` >= `+arg(*from))
	}
	limit := strings.Join(limits, `, `)
	if len(limits) > 1 {
		limit = `least(` + limit + `)`
	}
	switch {
	case l.owner != "" && limit != "":
		where = append(where, fmt.Sprintf(`(%s, %s) < ($2, %s)`, l.owner, l.id, limit))
	case l.owner != "":
		where = append(where, l.owner+` <= $2`)
	case limit != "":
		where = append(where, l.id+` < `+limit)
	}
	sql = `SELECT ` + l.columns + ` FROM ` + l.table + ` ` + l.join
	if len(where) > 0 {
		sql += ` WHERE ` + strings.Join(where, ` AND `)
	}
	if sql += ` ORDER BY ` + order; rows > pg.PageMax {
		return pg.Part(sql), args
	}
	return pg.Page(sql), args
}

// time returns an expression for a row's time that no index has, such as
// payments_by_time, whose order is another one.
func (l *list[T]) time() string { return `(` + l.at + ` + interval '0')` }

// since returns an expression for the id of the first row that is not before a time.
func (l *list[T]) since(time string) string {
	table := l.table
	if l.join != "" { // the times are those of the transactions
		table = "billing.transactions"
	}
	return `(` + pg.FirstSince(table, l.at, time) + `)`
}
