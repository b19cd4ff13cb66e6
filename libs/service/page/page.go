// Package page implements keyset pagination: a cursor holds the sort key of the
// last row shown, so pages stay stable while rows are added.
package page

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"

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

// Page is one page of a list, encoded as JSON.
type Page struct {
	// Len is the number of items.
	Len int
	// Next is the cursor of the next page, or nil on the last page.
	Next *string

	items []byte // with commas between them
	more  []byte // members of the list, each after a comma
}

// Cut takes rows that were read with limit+1, and returns the page. A page ends at limit
// items, or before it would exceed MaxBytes, but has at least one item if there are rows. Cut adds its
// size to the request's claim (see [bytelimit.From]), whose errors it returns.
//
// Items are encoded here, once: to know a page's size takes as long as to encode it.
func Cut[T, I any](ctx context.Context, list string, rows []T, limit int, key func(T) any, item func(T) I) (Page, error) {
	var p Page
	var items bytes.Buffer
	encoder := json.NewEncoder(&items)
	for _, row := range rows[:min(len(rows), limit)] {
		before := items.Len()
		if p.Len > 0 {
			items.WriteByte(',')
		}
		if err := encoder.Encode(item(row)); err != nil {
			return Page{}, err
		}
		items.Truncate(items.Len() - len("\n"))
		if frame+items.Len() > MaxBytes && p.Len > 0 {
			items.Truncate(before)
			break
		}
		p.Len++
	}
	p.items = items.Bytes()
	if err := bytelimit.From(ctx).Grow(frame + len(p.items)); err != nil {
		return Page{}, err
	}
	if p.Len == len(rows) {
		return p, nil
	}
	next, err := Encode(list, key(rows[p.Len-1]))
	if err != nil {
		return Page{}, err
	}
	p.Next = &next
	return p, nil
}

// With returns the page with one more member beside items and next_cursor.
func (p Page) With(member string, value any) (Page, error) {
	name, err := json.Marshal(member)
	if err != nil {
		return p, err
	}
	text, err := json.Marshal(value)
	if err != nil {
		return p, err
	}
	p.more = slices.Concat(p.more, []byte(","), name, []byte(":"), text)
	return p, nil
}

// MarshalJSON returns the body of the response, {"items": [...], "next_cursor": ...}. It
// never fails.
func (p Page) MarshalJSON() ([]byte, error) {
	body := make([]byte, 0, len(p.items)+len(p.more)+512) // the rest is short: a cursor holds a few values
	body = append(body, `{"items":[`...)
	body = append(body, p.items...)
	body = append(body, `],"next_cursor":`...)
	if p.Next == nil {
		body = append(body, "null"...)
	} else {
		body = strconv.AppendQuote(body, *p.Next) // base64, so there is nothing to escape
	}
	body = append(body, p.more...)
	return append(body, '}'), nil
}

// Respond writes the page as a response with the status 200.
func (p Page) Respond(w http.ResponseWriter) error {
	body, err := p.MarshalJSON()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, err = w.Write(append(body, '\n'))
	return err
}

type envelope[K any] struct {
	List string `json:"l"`
	Key  K      `json:"k"`
}

func bad(cause error) error {
	return problem.New(problem.Malformed, "malformed", "this cursor was not issued for this list; omit it to start at the first page").Because(cause)
}
