// Package page gives keyset pages: a cursor holds the sort key of the last row
// that was shown, so pages stay stable while rows are added.
package page

import (
	"encoding/base64"
	"encoding/json"

	"lavka/libs/domain/problem"
)

// The bounds of ?limit=.
const (
	DefaultLimit = 20
	MaxLimit     = 100
)

// Limit gives the page size that a request asks for. Outside 1–100 it is a
// problem "validation_failed".
func Limit(asked *int) (int, error) {
	if asked == nil {
		return DefaultLimit, nil
	}
	if *asked < 1 || *asked > MaxLimit {
		return 0, problem.InvalidFields(problem.Field{Field: "limit", Message: "must be from 1 to 100"})
	}
	return *asked, nil
}

// Encode makes an opaque cursor of a sort key. The list's name is part of it,
// so that one list's cursor is refused by another.
func Encode(list string, key any) (string, error) {
	b, err := json.Marshal(envelope[any]{List: list, Key: key})
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// Decode reads a cursor of that list into a key. It returns nil when there is
// no cursor, and a problem "malformed" when it is not one of this list's.
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

// Cut takes rows that were read with limit+1, and gives the page and the
// cursor of the next one, nil when this is the last.
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
	return problem.New(problem.Malformed, "malformed", "the cursor is not one that this list gave").Because(cause)
}
