package export

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"mime"
	"strconv"
	"strings"
	"time"

	"lavka/libs/domain/problem"
)

// The formats.
const (
	CSV    = "text/csv"             // RFC 4180, with a header
	NDJSON = "application/x-ndjson" // an item of the list on each line
)

// contentTypes are the Content-Type of each format.
var contentTypes = map[string]string{CSV: CSV + "; charset=utf-8; header=present", NDJSON: NDJSON}

// Accepted returns the format that an Accept header prefers to JSON, or "". Only a
// format that is named counts, not a range such as text/*.
func Accepted(accept []string) string {
	best, weight := "", 0.0
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if text, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(text, 64); err != nil {
				continue
			}
		}
		switch media {
		case CSV, NDJSON:
		case "application/json", "application/*", "*/*":
			media = ""
		default:
			continue
		}
		if q > weight {
			best, weight = media, q
		}
	}
	return best
}

type key struct{}

type asked struct {
	format string
	head   bool
}

// With returns a context that says that the response is to be an export. After HEAD,
// which is answered like GET, it has no body, and nothing is read.
func With(ctx context.Context, format string, head bool) context.Context {
	return context.WithValue(ctx, key{}, asked{format, head})
}

// Asked reports whether the client has asked for an export.
func Asked(ctx context.Context) bool { return ctx.Value(key{}) != nil }

// Whole returns the problem "validation_failed" if an export was asked for with the limit
// or the cursor of a page.
func Whole(limit *int, cursor *string) error {
	for name, given := range map[string]bool{"limit": limit != nil, "cursor": cursor != nil} {
		if given {
			return problem.InvalidFields(problem.Field{Field: name, Message: "can't be used with an export, which has no pages"})
		}
	}
	return nil
}

// Table is a list as an export.
type Table[T any] struct {
	Columns []Column[T]
	Item    func(T) any // as JSON
}

// Column is a column of a CSV file.
type Column[T any] struct {
	Name  string
	Value func(T) Cell
}

// Cell is a value in a CSV file.
type Cell struct {
	value string
	text  bool
}

// Text returns a cell with a text that someone wrote.
func Text(s string) Cell { return Cell{s, true} }

// Value returns a cell with a number, an id or a word of ours, as fmt prints it.
func Value(v any) Cell { return Cell{fmt.Sprint(v), false} }

// Time returns a cell with a time (RFC 3339, UTC).
func Time(t time.Time) Cell { return Value(t.UTC().Format(time.RFC3339Nano)) }

// OptionalTime is [Time] of what t points to, or an empty cell.
func OptionalTime(t *time.Time) Cell {
	if t == nil {
		return Cell{}
	}
	return Time(*t)
}

// Optional is [Value] of what v points to, or an empty cell.
func Optional[V any](v *V) Cell {
	if v == nil {
		return Cell{}
	}
	return Value(*v)
}

// defused returns the cell's value. A text that a spreadsheet would take for a formula
// begins with an apostrophe; a number such as -5 stays what it is.
func (c Cell) defused() string {
	if c.text && c.value != "" && strings.ContainsRune("=+-@\t\r", rune(c.value[0])) {
		return "'" + c.value
	}
	return c.value
}

// encoder writes the parts of an export.
type encoder[T any] interface {
	begin() error
	row(T) error
	end(items int) error
}

func newEncoder[T any](format string, table Table[T], to *bytes.Buffer) encoder[T] {
	if format == CSV {
		w := csv.NewWriter(to)
		w.UseCRLF = true
		return &csvEncoder[T]{table, w}
	}
	return &ndjsonEncoder[T]{table, json.NewEncoder(to)}
}

type csvEncoder[T any] struct {
	table Table[T]
	w     *csv.Writer
}

func (e *csvEncoder[T]) begin() error {
	var names []string
	for _, c := range e.table.Columns {
		names = append(names, c.Name)
	}
	return e.write(names...)
}

func (e *csvEncoder[T]) row(item T) error {
	record := make([]string, len(e.table.Columns))
	for i, c := range e.table.Columns {
		record[i] = c.Value(item).defused()
	}
	return e.write(record...)
}

func (e *csvEncoder[T]) end(items int) error { return e.write("#end", strconv.Itoa(items)) }

func (e *csvEncoder[T]) write(record ...string) error {
	err := e.w.Write(record)
	e.w.Flush()
	return err
}

type ndjsonEncoder[T any] struct {
	table Table[T]
	w     *json.Encoder
}

func (e *ndjsonEncoder[T]) begin() error     { return nil }
func (e *ndjsonEncoder[T]) row(item T) error { return e.w.Encode(e.table.Item(item)) }

func (e *ndjsonEncoder[T]) end(items int) error {
	return e.w.Encode(struct {
		End   bool `json:"end"`
		Items int  `json:"items"`
	}{true, items})
}
