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
	merged     []string // conditions, one of which holds for each row: the indexes of the owner's rows are those of each condition
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
	var where, limits, more []string
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
		more = append(more, fmt.Sprintf(c.sql, names...))
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
	limit, with := strings.Join(limits, `, `), ``
	if len(limits) > 1 {
		limit = `least(` + limit + `)`
	}
	if l.merged != nil && l.when.To != nil { // one search for all parts
		limit, with = `(SELECT id FROM upper)`, `WITH upper AS (SELECT `+limit+` AS id) `
	}
	switch {
	case l.owner != "" && limit != "":
		where = append(where, fmt.Sprintf(`(%s, %s) < ($2, %s)`, l.owner, l.id, limit))
	case l.owner != "":
		where = append(where, l.owner+` <= $2`)
	case limit != "":
		where = append(where, l.id+` < `+limit)
	}
	table, page, most := l.table, pg.Page, pg.PageMax
	if rows > pg.PageMax {
		page, most = pg.Part, pg.PartMax
	}
	if l.merged != nil {
		table, where, more = l.merge(where, order, most), more, nil
	}
	sql = with + `SELECT ` + l.columns + ` FROM ` + table + ` ` + l.join
	if where = append(where, more...); len(where) > 0 {
		sql += ` WHERE ` + strings.Join(where, ` AND `)
	}
	return page(sql + ` ORDER BY ` + order), args
}

// merge returns a table of the first rows of each kind. They are in the list's order, so
// the server merges them and reads no more of each than it needs.
func (l *list[T]) merge(where []string, order string, most int) string {
	parts := make([]string, len(l.merged))
	for i, kind := range l.merged {
		parts[i] = fmt.Sprintf(`(SELECT %s FROM %s WHERE %s ORDER BY %s LIMIT %d)`, l.columns, l.table, strings.Join(append([]string{kind}, where...), ` AND `), order, most)
	}
	return `(` + strings.Join(parts, ` UNION ALL `) + `) AS merged`
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
