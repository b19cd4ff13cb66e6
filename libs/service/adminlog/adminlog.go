// Package adminlog records what admins change, in the table <schema>.log. An entry is
// written in the transaction of the change, so that there is neither a change without
// an entry nor an entry without a change. The services' roles may add entries, and
// neither change nor delete them.
package adminlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"

	"lavka/libs/domain/problem"
	"lavka/libs/service/page"
	"lavka/libs/service/pg"
)

// MaxText is the length to which texts in an entry are cut, in characters.
const MaxText = 200

// MaxSubject is the longest subject that can be looked for, in characters.
const MaxSubject = 64

// Members are the members of a subject, as the API names them. Their values are
// comparable, and are neither passwords, hashes nor tokens.
type Members map[string]any

// Change is what an admin changed.
type Change struct {
	Actor   int64   // the admin's user id; 0 for a command that an operator ran
	Action  string  // such as "product.change"
	Subject string  // such as "product/7"
	Before  Members // nil if the subject did not exist
	After   Members // nil if it exists no longer
}

// Entry is a recorded change. Before and After hold the members that differ, as
// encoding/json decodes them, with [json.Number].
type Entry struct {
	ID      int64
	At      time.Time
	Actor   *int64 // nil for a command that an operator ran
	Action  string
	Subject string
	Before  map[string]any
	After   map[string]any
	TraceID string // of the request; "" for none
}

// Write adds an entry to the log of a schema, in the transaction of the change.
func Write(ctx context.Context, tx *pg.Tx, schema string, c Change) error {
	before, after := c.differences()
	traceID := ""
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		traceID = sc.TraceID().String()
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO `+table(schema)+` (actor_id, action, subject, before, after, trace_id)
		VALUES (nullif($1::bigint, 0), $2, $3, $4, $5, $6)`, c.Actor, c.Action, c.Subject, before, after, traceID)
	return pg.Wrap("write the admins' log", err)
}

// differences returns the members that differ, with their texts cut.
func (c Change) differences() (before, after map[string]any) {
	differ := func(members, other Members) map[string]any {
		if members == nil {
			return nil
		}
		left := map[string]any{}
		for name, value := range members {
			if was, there := other[name]; there && was == value {
				continue
			}
			if text, ok := value.(string); ok {
				value = cut(text)
			}
			left[name] = value
		}
		return left
	}
	return differ(c.Before, c.After), differ(c.After, c.Before)
}

func cut(text string) string {
	if r := []rune(text); len(r) > MaxText {
		return string(r[:MaxText-1]) + "…"
	}
	return text
}

// Query selects entries; the zero value selects all.
type Query struct {
	Subject string
	Below   *int64 // the id of the last entry of the previous page
}

// List returns at most limit entries, at most 101, newest first.
func List(ctx context.Context, reads *pg.Reader, schema string, q Query, limit int) ([]Entry, error) {
	where, args := `true`, []any{limit}
	if q.Below != nil {
		where, args = where+` AND id < $2`, append(args, *q.Below)
	}
	if q.Subject != "" {
		args = append(args, q.Subject)
		where += fmt.Sprintf(` AND subject = $%d`, len(args))
	}
	return pg.Collect(ctx, reads, "read the admins' log", scan, pg.Page(`
		SELECT id, at, actor_id, action, subject, before, after, trace_id
		FROM `+table(schema)+` WHERE `+where+` ORDER BY id DESC`), args...)
}

// Lister reads entries: at most limit of them, at most 101, newest first.
type Lister interface {
	Log(ctx context.Context, q Query, limit int) ([]Entry, error)
}

const listName = "log"

type cursorKey struct {
	ID int64 `json:"id"`
}

// Page answers a request for a page, whose parameters may be nil. Its errors are those of [page.Limit], [page.Decode]
// and [page.Cut], "validation_failed" for a subject that is too long, and the Lister's.
func Page[I any](ctx context.Context, l Lister, subject *string, limit *int, cursor *string, item func(Entry) I) (page.Page, error) {
	var q Query
	if subject != nil {
		if q.Subject = *subject; q.Subject == "" || utf8.RuneCountInString(q.Subject) > MaxSubject {
			return page.Page{}, problem.InvalidFields(problem.Field{Field: "subject", Message: "must have from 1 to 64 characters"})
		}
	}
	n, err := page.Limit(limit)
	if err != nil {
		return page.Page{}, err
	}
	last, err := page.Decode[cursorKey](listName, cursor)
	if err != nil {
		return page.Page{}, err
	}
	if last != nil {
		q.Below = &last.ID
	}
	entries, err := l.Log(ctx, q, n+1)
	if err != nil {
		return page.Page{}, err
	}
	return page.Cut(ctx, listName, entries, n, func(e Entry) any { return cursorKey{e.ID} }, item)
}

func scan(row pgx.CollectableRow) (Entry, error) {
	var e Entry
	var before, after []byte
	err := row.Scan(&e.ID, &e.At, &e.Actor, &e.Action, &e.Subject, &before, &after, &e.TraceID)
	return e, errors.Join(err, decode(before, &e.Before), decode(after, &e.After))
}

// decode keeps numbers as they are written: amounts are exact.
func decode(text []byte, members *map[string]any) error {
	if text == nil {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(members)
}

func table(schema string) string { return pgx.Identifier{schema, "log"}.Sanitize() }
