package pg

import "fmt"

// The most rows of a [Page] and of a [Part].
const (
	PageMax = 101
	PartMax = 1000
)

// Page returns the statement of one page of a list: the first $1 rows, at most PageMax,
// that sql selects in its order. sql is a SELECT with an ORDER BY that an index has,
// and without a LIMIT.
//
// For a LIMIT that is a parameter, the server plans a tenth of all rows, for which
// reading and sorting the whole table may seem cheaper than following the index. The
// constant tells it that a page is short. Rows after the first $1 are not read.
func Page(sql string) string { return paged(sql, PageMax) }

// Part is [Page] for a part of an export, which has at most PartMax rows.
func Part(sql string) string { return paged(sql, PartMax) }

func paged(sql string, most int) string {
	return fmt.Sprintf(`SELECT * FROM (%s LIMIT %d) AS page LIMIT $1`, sql, most)
}
