package pg

import (
	"fmt"
	"strings"
)

// FirstSince returns a SELECT of the lowest id from which on no row of a table is before
// a time, where ids and times rise together: a binary search in the primary key, named
// id, which reads a few rows however many there are. after is that time, as SQL, and at
// the column of a row's time. Without rows it selects NULL or nothing; if all of them are
// before the time, the id after the last.
//
// Where times differ from the order of ids by up to some margin, rows before the result
// may be later than the time by as much, and rows from it on may be earlier: search for
// a time that is earlier or later by the margin, and compare the rows' times as well.
func FirstSince(table, at, after string) string {
	return since(table, at, after, `true`, `id`, `id >= middle`)
}

// FirstOf is FirstSince among the rows for which a condition holds and whose column is
// owner, both as SQL. An index of these rows must have the column and the id.
func FirstOf(table, condition, column, owner, at, after string) string {
	of := fmt.Sprintf(`%[3]s AND %[1]s >= %[2]s AND %[1]s <= %[2]s`, column, owner, condition)
	return since(table, at, after, of, column+`, id`, fmt.Sprintf(`%[3]s AND %[1]s <= %[2]s AND (%[1]s, id) >= (%[2]s, middle)`, column, owner, condition))
}

// since asks for the first row from the middle on, wherever it is, and then whether it is below high: with high in its condition, the
// server would read on to the owner's last row where there is none, because it ends a scan by the first column of a row comparison only.
func since(table, at, after, of, order, fromMiddle string) string {
	return fmt.Sprintf(`
		WITH RECURSIVE search (low, high) AS (
			SELECT (SELECT id FROM %[1]s WHERE %[4]s ORDER BY %[5]s LIMIT 1), (SELECT id + 1 FROM %[1]s WHERE %[4]s ORDER BY %[7]s DESC LIMIT 1)
			UNION ALL
			SELECT CASE WHEN found.at < %[3]s THEN found.id + 1 ELSE low END, CASE WHEN found.at < %[3]s THEN high ELSE middle END
			FROM search CROSS JOIN LATERAL (SELECT low + (high - low) / 2 AS middle) AS half
			LEFT JOIN LATERAL (SELECT id, %[2]s AS at FROM %[1]s WHERE %[6]s ORDER BY %[5]s LIMIT 1) AS found ON found.id < high
			WHERE low < high)
		SELECT low FROM search WHERE low >= high`, table, at, after, of, order, fromMiddle, strings.ReplaceAll(order, `,`, ` DESC,`))
}
