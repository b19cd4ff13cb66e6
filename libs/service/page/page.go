// Package page implements keyset pagination: a cursor holds the sort key of the
// last row shown, so pages stay stable while rows are added.
package page

import (
	"context"
	"encoding/base64"
	"encoding/json"

	"lavka/libs/domain/problem"
	"lavka/libs/service/bytelimit"
)

// Default and maximum of ?limit=.
const (
	DefaultLimit = 20
	MaxLimit     = 100
)

// MaxBytes is the maximum size of a page, in bytes of its JSON encoding. Only an
// item that is larger than that makes a larger page, of its own.
const MaxBytes = 256 << 10

const (
	maxCursor = 2048
	frame     = maxCursor + 64 // the longest cursor and the members' names
)

// Limit returns the page size that a request asks for, or DefaultLimit. A value
// outside 1–100 is the problem "validation_failed".
func Limit(asked *int) (int, error) {
	if asked == nil {
		return DefaultLimit, nil
	}
	if *asked < 1 || *asked > MaxLimit {
		return 0, problem.InvalidFields(problem.Field{Field: "limit", Message: "must be from 1 to 100"})
	}
	return *asked, nil
}

// Encode returns an opaque cursor for a sort key. It contains the list's name, so
// that a cursor of one list is rejected by another.
func Encode(list string, key any) (string, error) {
	b, err := json.Marshal(envelope[any]{List: list, Key: key})
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// Decode returns the sort key in a cursor of the given list. It returns nil if
// there is no cursor, and the problem "malformed" for a cursor that is not this
// list's or is longer than 2048 bytes.
func Decode[K any](list string, cursor *string) (*K, error) {
	if cursor == nil || *cursor == "" {
		return nil, nil
	}
	if len(*cursor) > maxCursor {
		return nil, bad(nil)
	}
	b, err := base64.RawURLEncoding.DecodeString(*cursor)
	if err != nil {
		return nil, bad(err)
	}
	var e envelope[*K]
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, bad(err)
	}
	if e.List != list || e.Key == nil {
		return nil, bad(nil)
	}
	return e.Key, nil
}

// Cut takes rows that were read with limit+1, and returns the page's items and the
// cursor of the next page, which is nil on the last page. A page ends at limit
// items, or before it would exceed MaxBytes, but has at least one item. Cut adds its
// size to the request's claim (see [bytelimit.From]), whose errors it returns.
func Cut[T, I any](ctx context.Context, list string, rows []T, limit int, key func(T) any, item func(T) I) ([]I, *string, error) {
	items, size := make([]I, 0, min(len(rows), limit)), frame
	for _, row := range rows[:min(len(rows), limit)] {
		next := item(row)
		n, err := bytelimit.JSON(next)
		if err != nil {
			return nil, nil, err
		}
		n += len(",")
		if size+n > MaxBytes && len(items) > 0 {
			break
		}
		items, size = append(items, next), size+n
	}
	if err := bytelimit.From(ctx).Grow(size); err != nil {
		return nil, nil, err
	}
	if len(items) == len(rows) {
		return items, nil, nil
	}
	next, err := Encode(list, key(rows[len(items)-1]))
	if err != nil {
		return nil, nil, err
	}
	return items, &next, nil
}

type envelope[K any] struct {
	List string `json:"l"`
	Key  K      `json:"k"`
}

func bad(cause error) error {
	return problem.New(problem.Malformed, "malformed", "this cursor was not issued for this list; omit it to start at the first page").Because(cause)
}
