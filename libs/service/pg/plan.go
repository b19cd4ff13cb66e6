package pg

// ThroughBitmaps, run in a transaction, leaves only plans that go through the bitmap of an index, such as one of grams (GIN). Otherwise the
// server may walk the whole table: it takes an array to be as cheap to look at as a number. The memory is for the list of the rows' places;
// without it, all rows of their pages are looked at. AnyPlan ends it.
const (
	ThroughBitmaps = `SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL work_mem = '16MB'`
	AnyPlan        = `SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = on`
)
