// Package problem gives errors that are meant for the client: a kind, a stable
// code, a safe text, and a private cause; and writes them as RFC 9457
// application/problem+json.
package problem

import (
	"errors"
	"fmt"
	"time"
)

// Error is an error whose Code, Detail, Fields and Extra a client may see. Its
// Cause is for the log only.
type Error struct {
	Kind       Kind
	Code       string
	Detail     string
	Fields     []Field
	Extra      map[string]any
	RetryAfter time.Duration
	Cause      error
}

// Field says what is wrong with one member of the request.
type Field struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// New makes an error of a kind with a stable code and a text for the client.
func New(kind Kind, code, detail string) *Error {
	return &Error{Kind: kind, Code: code, Detail: detail}
}

// InvalidFields is a 422 "validation_failed" that names each bad member.
func InvalidFields(fields ...Field) *Error {
	return &Error{Kind: Invalid, Code: "validation_failed", Detail: "some members of the request are not valid", Fields: fields}
}

// In names the member of the request that a problem is about, unless it names
// some already. Nil stays nil.
func In(field string, err error) error {
	var p *Error
	if !errors.As(err, &p) || len(p.Fields) > 0 {
		return err
	}
	c := *p
	c.Fields = []Field{{Field: field, Message: p.Detail}}
	return &c
}

// With returns a copy that carries one more member in its JSON form.
func (e *Error) With(member string, value any) *Error {
	c := *e
	c.Extra = make(map[string]any, len(e.Extra)+1)
	for k, v := range e.Extra {
		c.Extra[k] = v
	}
	c.Extra[member] = value
	return &c
}

// Retry returns a copy that asks the client to come back after d, rounded up
// to whole seconds.
func (e *Error) Retry(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// Because returns a copy with a private cause.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Detail, e.Cause)
	}
	return e.Code + ": " + e.Detail
}

func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is compare problems by their code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}
