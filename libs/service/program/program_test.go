package program_test

import (
	"slices"
	"testing"

	"lavka/libs/service/program"
)

func TestCommand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args    []string
		command string
		rest    []string
	}{
		{nil, "serve", nil}, {[]string{"migrate"}, "migrate", nil}, {[]string{"purchases", "show", "x"}, "purchases", []string{"show", "x"}},
		{[]string{"serve", "now"}, "serve now", nil}, {[]string{"messages", "rejected"}, "messages rejected", nil},
	} {
		if command, rest := program.Command(c.args, "purchases"); command != c.command || !slices.Equal(rest, c.rest) {
			t.Errorf("%v: %q %v", c.args, command, rest)
		}
	}
}
