// Package strictjson reads JSON the way an API with money in it should: no
// duplicate keys, no names in another case, no trailing data, no invalid
// UTF-8 (RFC 8259 and RFC 7493), and no U+0000, which Postgres refuses.
package strictjson

import (
	"bytes"
	"errors"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"lavka/libs/domain/problem"
)

// MaxDepth bounds how deep a text may nest.
const MaxDepth = 32

// Unmarshal decodes text into v, which points to a struct, and refuses unknown
// members, and null: that a member is left out says the same, and a null where a
// number was meant is some client's mistake. What it refuses is a problem
// "malformed", unless a type's own UnmarshalJSON gave another.
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

// Check accepts one strict JSON text that nests at most MaxDepth deep and holds
// no U+0000 in any string.
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
			return malformed("the body must be an object", "")
		case tok.Kind() == 'n' && !nulls:
			return malformed("a member must not be null", d.StackPointer())
		case d.StackDepth() > MaxDepth:
			return malformed("the JSON nests too deep", "")
		}
		if d.StackDepth() == 0 {
			break
		}
	}
	if len(bytes.TrimLeft(text[d.InputOffset():], " \t\r\n")) > 0 {
		return malformed("there is something after the JSON value", "")
	}
	return nil
}

// unreadable says what is wrong and where, without the library's own words.
func unreadable(err error) error {
	detail := "the body is not the JSON that this route takes"
	at := place(err)
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		detail = "a member is there twice"
	case errors.Is(err, json.ErrUnknownName):
		detail = "the body has a member that this route does not know"
	case errors.As(err, &syntax):
		detail = "the body is not valid JSON"
	case errors.As(err, &semantic) && at == "":
		detail = "the body must be an object"
	case errors.As(err, &semantic):
		detail = "a member " + form(semantic.GoType)
	}
	return malformed(detail, at).Because(err)
}

// form says what a member's JSON must be to fit its type.
func form(t reflect.Type) string {
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == nil:
	case t.Kind() == reflect.Int64:
		return "must be an integer within 64 bits"
	case t.Kind() == reflect.String:
		return "must be a string"
	case t.Kind() == reflect.Bool:
		return "must be true or false"
	}
	return "has the wrong type"
}

// place is where in the text something is wrong, or "". It can hold a member's
// name of the client's own, and nothing else that was sent.
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

// longest place that is shown, in bytes.
const longest = 100

func malformed(detail string, at jsontext.Pointer) *problem.Error {
	if at != "" && len(at) <= longest {
		detail += " (at " + string(at) + ")"
	}
	return problem.New(problem.Malformed, "malformed", detail)
}
