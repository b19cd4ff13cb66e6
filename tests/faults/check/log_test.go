package check_test

import (
	"testing"

	"lavka/tests/faults/history"
)

func TestN(t *testing.T) {
	t.Parallel()
	wantOnly(t, "n", []broken{
		{"a change without an entry", func(s *shop) { s.b.Logged = []history.Logged{{Subject: "product/1", Changes: 3, Entries: 2}} }},
		{"an entry without a change", func(s *shop) { s.b.Logged = []history.Logged{{Subject: "user/3", Changes: 0, Entries: 1}} }},
	})
}
