// Package problem defines errors that are meant for a client: a kind, a stable
// code, a safe text and a private cause. It uses the standard library only and
// knows no protocol, so that domain packages can return problems.
package problem

import (
	"errors"
	"fmt"
	"maps"
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
	RetryAfter time.Duration // 0 if the client gets no advice on when to retry
	Cause      error
}

// Field says what is wrong with one member of the request.
type Field struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// New returns an error of a kind with a stable code and a text for the client.
func New(kind Kind, code, detail string) *Error {
	return &Error{Kind: kind, Code: code, Detail: detail}
}

// InvalidFields returns an Invalid problem "validation_failed" that names each
// bad member.
func InvalidFields(fields ...Field) *Error {
	return &Error{Kind: Invalid, Code: "validation_failed", Detail: "some members of the request are not valid", Fields: fields}
}

// Member is a member of a request's body.
type Member struct {
	Name    string
	Present bool // and, for texts that must not be empty, not empty
}

// Require returns an Invalid problem "validation_failed" that names each member
// that is not present, or nil.
func Require(members ...Member) error {
	var missing []Field
	for _, m := range members {
		if !m.Present {
			missing = append(missing, Field{Field: m.Name, Message: "is required"})
		}
	}
	if missing == nil {
		return nil
	}
	return InvalidFields(missing...)
}

// From returns the problem in err's chain. Any other error becomes an Internal
// problem "internal" with err as its private cause.
func From(err error) *Error {
	var p *Error
	if errors.As(err, &p) {
		return p
	}
	return &Error{Kind: Internal, Code: "internal", Detail: "something went wrong on our side; quote the trace_id when you report this", Cause: err}
}

// In names the member of the request that a problem is about, unless the problem
// names members already. It returns other errors, and nil, as they are.
func In(field string, err error) error {
	var p *Error
	if !errors.As(err, &p) || len(p.Fields) > 0 {
		return err
	}
	c := *p
	c.Fields = []Field{{Field: field, Message: p.Detail}}
	return &c
}

// With returns a copy with one more member in its JSON form.
func (e *Error) With(member string, value any) *Error {
	c := *e
	c.Extra = make(map[string]any, len(e.Extra)+1)
	maps.Copy(c.Extra, e.Extra)
	c.Extra[member] = value
	return &c
}

// Retry returns a copy that advises the client to retry after d, rounded up to
// whole seconds.
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

// Is makes errors.Is compare problems by code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}
