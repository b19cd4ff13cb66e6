package pg

import (
	"context"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/bytelimit"
)

// claimed returns scan, with each row's bytes added to the claim of ctx before the
// row is scanned (see [bytelimit.From]). Rows of callers without a claim are not
// counted.
func claimed[T any](ctx context.Context, scan pgx.RowToFunc[T]) pgx.RowToFunc[T] {
	claim := bytelimit.From(ctx)
	if claim == nil {
		return scan
	}
	return func(row pgx.CollectableRow) (T, error) {
		bytes := 0
		for _, value := range row.RawValues() {
			bytes += len(value)
		}
		if err := claim.Grow(bytes); err != nil {
			var none T
			return none, err
		}
		return scan(row)
	}
}
