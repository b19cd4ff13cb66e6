package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
	"lavka/libs/service/strictjson"
)

type order struct {
	ID    int64         `json:"id"`
	Title string        `json:"title"`
	Price *money.Amount `json:"price"`
}

func TestUnmarshal(t *testing.T) {
	t.Parallel()
	var o order
	if err := strictjson.Unmarshal([]byte(" {\"id\": 7, \"title\": \"tea\", \"price\": 9.99}\n"), &o); err != nil {
		t.Fatal(err)
	}
	if o.ID != 7 || o.Title != "tea" || *o.Price != 999 {
		t.Errorf("read %+v", o)
	}
	for text, code := range map[string]string{
		``:                            "malformed",
		`{"id": 1, "id": 2}`:          "malformed",
		`{"ID": 1}`:                   "malformed",
		`{"id": 1} {}`:                "malformed",
		`{"id": 1`:                    "malformed",
		`{"id": "1"}`:                 "malformed",
		`{"id": 1.5}`:                 "malformed",
		`{"id": 1e3}`:                 "malformed",
		`{"id": 9223372036854775808}`: "malformed",
		`{"title": "a\u0000b"}`:       "malformed",
		"{\"title\": \"\xff\"}":       "malformed",
		`{"title": "\ud800"}`:         "malformed",
		`{"unknown": 1}`:              "malformed",
		`{"price": "9"}`:              "malformed",
		`{"price": 1.999}`:            "invalid_amount",
		`{"price": -0}`:               "invalid_amount",
		`{"price": null}`:             "malformed",
		`null`:                        "malformed",
		`[1]`:                         "malformed",
		strings.Repeat("[", 100000):   "malformed",
	} {
		var p *problem.Error
		if err := strictjson.Unmarshal([]byte(text), &order{}); !errors.As(err, &p) || p.Code != code {
			t.Errorf("%.40q: %v, want %s", text, err, code)
		}
	}
}

// The error tells the client what to change, and where.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:                            "the body is empty",
		" \n":                         "the body is empty",
		`null`:                        "the body must be a JSON object",
		`[]`:                          "the body must be a JSON object",
		`7`:                           "the body must be a JSON object",
		`{"price": null}`:             "a member must not be null (at /price)",
		`{"id": 1, "id": 2}`:          "a member appears twice (at /id)",
		`{"id": "1"}`:                 "a member must be a 64-bit integer (at /id)",
		`{"id": 1.5}`:                 "a member must be a 64-bit integer (at /id)",
		`{"id": 9223372036854775808}`: "a member must be a 64-bit integer (at /id)",
		`{"title": 5}`:                "a member must be a string (at /title)",
		`{"title": "a\u0000b"}`:       "U+0000 is not allowed in a string (at /title)",
		`{"unknown": 1}`:              "the body has an unknown member (at /unknown)",
		`{"price": "9"}`:              "an amount must be a JSON number (at /price)",
		`{"id": 1`:                    "the body is not valid JSON",
	} {
		var p *problem.Error
		if err := strictjson.Unmarshal([]byte(text), &order{}); !errors.As(err, &p) || p.Detail != want {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	var p *problem.Error
	if err := strictjson.Unmarshal([]byte(`{"price": 9.999}`), &order{}); !errors.As(err, &p) || len(p.Fields) != 1 || p.Fields[0] != (problem.Field{Field: "price", Message: "an amount must have at most two decimals"}) {
		t.Errorf("an amount with three decimals: %+v", err)
	}
}

// Only [strictjson.Unmarshal] rejects null: Check also reads other parties' JSON, whose members may be null.
func TestCheckTakesNull(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`null`, `{"note": null}`} {
		if err := strictjson.Check([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// What is accepted is also valid JSON for encoding/json, and means the same to it.
func FuzzUnmarshal(f *testing.F) {
	for _, text := range []string{
		` {"id": 7, "title": "tea", "price": 9.99} `, `{"id": 1, "id": 2}`, `{"ID": 1}`, `{"id": 1} {}`, `{"id": 1e0}`, `{"title": "\u0000"}`, `{"title": "\ud800"}`,
		`{"price": -0}`, `{"price": null, "id": -0}`, `null`, `{}`, "\xef\xbb\xbf{}", `{"title": "\xff"}`, strings.Repeat("[", 40) + strings.Repeat("]", 40),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var p *problem.Error
		if err := strictjson.Check(text); err == nil {
			if !json.Valid(text) || depth(text) > strictjson.MaxDepth {
				t.Fatalf("%q passed the check", text)
			}
		} else if !errors.As(err, &p) || p.Code != "malformed" {
			t.Fatalf("%q: %v is no problem of the client's", text, err)
		}
		var ours, theirs order
		if err := strictjson.Unmarshal(text, &ours); err != nil {
			if !errors.As(err, &p) || p.Code == "internal" {
				t.Fatalf("%q: %v is no problem of the client's", text, err)
			}
			return
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&theirs); err != nil {
			t.Fatalf("%q was accepted, but encoding/json returned %v", text, err)
		}
		if ours.ID != theirs.ID || ours.Title != theirs.Title || (ours.Price == nil) != (theirs.Price == nil) || (ours.Price != nil && *ours.Price != *theirs.Price) {
			t.Fatalf("%q was decoded as %+v, but by encoding/json as %+v", text, ours, theirs)
		}
		if strings.ContainsRune(ours.Title, 0) {
			t.Fatalf("%q holds U+0000", text)
		}
	})
}

// depth returns how deeply a JSON text is nested.
func depth(text []byte) (deepest int) {
	d := json.NewDecoder(bytes.NewReader(text))
	for open := 0; ; {
		tok, err := d.Token()
		if err != nil {
			return deepest
		}
		switch tok {
		case json.Delim('['), json.Delim('{'):
			open++
		case json.Delim(']'), json.Delim('}'):
			open--
		}
		deepest = max(deepest, open)
	}
}
