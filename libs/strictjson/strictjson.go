// Package strictjson reads JSON the way an API with money in it should: no
// duplicate keys, no names in another case, no trailing data, no invalid
// UTF-8 (RFC 8259 and RFC 7493), and no U+0000, which Postgres refuses.
package strictjson

import (
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"lavka/libs/problem"
)

// MaxDepth bounds how deep a text may nest.
const MaxDepth = 32

// Unmarshal decodes text into v and refuses unknown members. What it refuses is
// a problem "malformed", unless a type's own UnmarshalJSON gave another.
func Unmarshal(text []byte, v any) error {
	if err := Check(text); err != nil {
		return err
	}
	err := json.Unmarshal(text, v, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	var p *problem.Error
	if errors.As(err, &p) {
		return p
	}
	return malformed(err)
}

// Check accepts one strict JSON text that nests at most MaxDepth deep and holds
// no U+0000 in any string.
func Check(text []byte) error {
	d := jsontext.NewDecoder(strings.NewReader(string(text)))
	for {
		tok, err := d.ReadToken()
		if err != nil {
			return malformed(err)
		}
		if tok.Kind() == '"' && strings.ContainsRune(tok.String(), 0) {
			return problem.New(problem.Malformed, "malformed", "U+0000 is not allowed in a string")
		}
		if d.StackDepth() > MaxDepth {
			return problem.New(problem.Malformed, "malformed", "the JSON nests too deep")
		}
		if d.StackDepth() == 0 {
			break
		}
	}
	if len(strings.TrimLeft(string(text[d.InputOffset():]), " \t\r\n")) > 0 {
		return problem.New(problem.Malformed, "malformed", "there is something after the JSON value")
	}
	return nil
}

// malformed says what is wrong and where. The library's text names the place;
// it can quote a member's name of the client's own, nothing else.
func malformed(err error) error {
	detail := "the body is not the JSON that this route takes"
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		detail = "a member is there twice" + at(err)
	case errors.Is(err, json.ErrUnknownName):
		detail = "the body has a member that this route does not know" + at(err)
	case errors.As(err, &syntax):
		detail = "the body is not valid JSON" + at(err)
	case errors.As(err, &semantic):
		detail = "a member has the wrong type" + at(err)
	}
	return problem.New(problem.Malformed, "malformed", detail).Because(err)
}

func at(err error) string {
	var pointer jsontext.Pointer
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	if errors.As(err, &syntax) {
		pointer = syntax.JSONPointer
	} else if errors.As(err, &semantic) {
		pointer = semantic.JSONPointer
	}
	if pointer == "" || len(pointer) > 100 {
		return ""
	}
	return " (at " + string(pointer) + ")"
}
