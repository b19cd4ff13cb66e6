package main

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lavka/deploy/local/stack"
	"lavka/deploy/local/traces"
)

// A trace that can't be shown is an error of one sentence that gives the reason.
func TestTracesThatCanNotBeShown(t *testing.T) {
	t.Parallel()
	here := httptest.NewServer(traces.Handler(traces.NewStore()))
	t.Cleanup(here.Close)
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, c := range []struct {
		url  string
		args []string
		want string
	}{
		{here.URL, nil, "there have been no purchases since the shop started"},
		{here.URL, []string{"6ebc852d0a54f1d344a408a3f8fbb310"}, `there is no trace "6ebc852d0a54f1d344a408a3f8fbb310"`},
		{here.URL, []string{"../latest?x"}, "there is no trace"},
		{here.URL, []string{"--purchase", "01a20a47-504a-7759-b295-5f4d6f836fdc"}, `no trace of the purchase "01a20a47-504a-7759-b295-5f4d6f836fdc" is kept here`},
		{here.URL, []string{"--purchase", "../latest?x"}, "is not the id of a purchase"},
		{here.URL, []string{"--purchase", "1", "2"}, "one trace id"},
		{here.URL, []string{"a", "b"}, "one trace id"},
		{"", nil, "sends its traces elsewhere"},
		{gone.URL, nil, "fetch the trace"},
	} {
		dir := t.TempDir()
		cfg := pretend(t, dir)
		text, err := json.Marshal(stack.Shop{BinDir: dir, TracesURL: c.url})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "running.json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := showTrace(t.Context(), cfg, c.args); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q of %q: %v, want %q", c.args, c.url, err, c.want)
		}
	}
}
