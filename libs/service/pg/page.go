package pg

// Page returns the statement of one page of a list: the first $1 rows, at most 101,
// that sql selects in its order. sql is a SELECT with an ORDER BY that an index has,
// and without a LIMIT.
//
// For a LIMIT that is a parameter, the server plans a tenth of all rows, for which
// reading and sorting the whole table may seem cheaper than following the index. The
// constant tells it that a page is short. Rows after the first $1 are not read.
func Page(sql string) string {
	return `SELECT * FROM (` + sql + ` LIMIT 101) AS page LIMIT $1`
}
