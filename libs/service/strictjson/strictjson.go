// Package strictjson decodes JSON as strictly as an API that handles money should:
// no duplicate keys, no names in another case, no trailing data, no invalid
// UTF-8 (RFC 8259 and RFC 7493), and no U+0000, which Postgres rejects.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"lavka/libs/domain/problem"
)

// MaxDepth is the maximum nesting depth of a JSON text.
const MaxDepth = 32

// Unmarshal decodes text into v, which must point to a struct. It rejects unknown
// members and null: leaving a member out means the same, and a null in place of a
// number is a client's mistake. Its errors are the problem "malformed", unless a
// type's own UnmarshalJSON returned another problem.
func Unmarshal(text []byte, v any) error {
	if err := check(text, false); err != nil {
		return err
	}
	err := json.Unmarshal(text, v, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	var p *problem.Error
	if !errors.As(err, &p) {
		return unreadable(err)
	}
	member := place(err)
	switch {
	case member == "":
		return p
	case p.Kind == problem.Invalid:
		return problem.In(member.LastToken(), p)
	}
	return malformed(p.Detail, member)
}

// Check returns nil for exactly one strict JSON text that nests at most MaxDepth
// deep and has no U+0000 in any string. Unlike Unmarshal, it allows null. Its
// errors are the problem "malformed".
func Check(text []byte) error { return check(text, true) }

func check(text []byte, nulls bool) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return malformed("the body is empty", "")
	}
	d := jsontext.NewDecoder(bytes.NewReader(text))
	for {
		tok, err := d.ReadToken()
		if err != nil {
			return unreadable(err)
		}
		switch {
		case tok.Kind() == '"' && strings.ContainsRune(tok.String(), 0):
			return malformed("U+0000 is not allowed in a string", d.StackPointer())
		case tok.Kind() == 'n' && !nulls && d.StackDepth() == 0:
			return malformed("the body must be a JSON object", "")
		case tok.Kind() == 'n' && !nulls:
			return malformed("a member must not be null", d.StackPointer())
		case d.StackDepth() > MaxDepth:
			return malformed(fmt.Sprintf("the JSON is nested more than %d levels deep", MaxDepth), "")
		}
		if d.StackDepth() == 0 {
			break
		}
	}
	if len(bytes.TrimLeft(text[d.InputOffset():], " \t\r\n")) > 0 {
		return malformed("there is data after the JSON value", "")
	}
	return nil
}

// unreadable describes what is wrong and where, without the library's own text.
func unreadable(err error) error {
	detail := "the body does not match the JSON that this route accepts"
	at := place(err)
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		detail = "a member appears twice"
	case errors.Is(err, json.ErrUnknownName):
		detail = "the body has an unknown member"
	case errors.As(err, &syntax):
		detail = "the body is not valid JSON"
	case errors.As(err, &semantic) && at == "":
		detail = "the body must be a JSON object"
	case errors.As(err, &semantic):
		detail = "a member " + form(semantic.GoType)
	}
	return malformed(detail, at).Because(err)
}

// form describes what JSON a member of that Go type must have.
func form(t reflect.Type) string {
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == nil:
	case t.Kind() == reflect.Int64:
		return "must be a 64-bit integer"
	case t.Kind() == reflect.String:
		return "must be a string"
	case t.Kind() == reflect.Bool:
		return "must be true or false"
	}
	return "has the wrong type"
}

// place returns a pointer to where in the text the error is, or "". Of what the
// client sent, it can contain member names and nothing else.
func place(err error) jsontext.Pointer {
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	if errors.As(err, &syntax) {
		return syntax.JSONPointer
	}
	if errors.As(err, &semantic) {
		return semantic.JSONPointer
	}
	return ""
}

// longest is the maximum length of a place that is shown, in bytes.
const longest = 100

func malformed(detail string, at jsontext.Pointer) *problem.Error {
	if at != "" && len(at) <= longest {
		detail += " (at " + string(at) + ")"
	}
	return problem.New(problem.Malformed, "malformed", detail)
}
