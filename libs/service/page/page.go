// Package page implements keyset pagination: a cursor holds the sort key of the
// last row shown, so pages stay stable while rows are added.
package page

import (
	"encoding/base64"
	"encoding/json"

	"lavka/libs/domain/problem"
)

// Default and maximum of ?limit=.
const (
	DefaultLimit = 20
	MaxLimit     = 100
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
	if len(*cursor) > 2048 {
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

// Cut takes rows that were read with limit+1, and returns the page and the cursor
// of the next page, which is nil on the last page.
func Cut[T any](list string, rows []T, limit int, key func(T) any) ([]T, *string, error) {
	if len(rows) <= limit {
		return rows, nil, nil
	}
	rows = rows[:limit]
	next, err := Encode(list, key(rows[limit-1]))
	if err != nil {
		return nil, nil, err
	}
	return rows, &next, nil
}

type envelope[K any] struct {
	List string `json:"l"`
	Key  K      `json:"k"`
}

func bad(cause error) error {
	return problem.New(problem.Malformed, "malformed", "this cursor was not issued for this list; omit it to start at the first page").Because(cause)
}
