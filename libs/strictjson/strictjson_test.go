package strictjson_test

import (
	"errors"
	"strings"
	"testing"

	"lavka/libs/money"
	"lavka/libs/problem"
	"lavka/libs/strictjson"
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
		`[1]`:                         "malformed",
		strings.Repeat("[", 100000):   "malformed",
	} {
		var p *problem.Error
		if err := strictjson.Unmarshal([]byte(text), &order{}); !errors.As(err, &p) || p.Code != code {
			t.Errorf("%.40q: %v, want %s", text, err, code)
		}
	}
}
