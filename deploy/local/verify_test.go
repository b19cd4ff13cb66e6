package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lavka/deploy/local/stack"
)

// pretend makes dir look to the tools as if a shop ran on it. Its billing is a script.
func pretend(t *testing.T, dir, billing string) settings {
	t.Helper()
	lock, err := stack.LockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lock.Release(); err != nil {
			t.Error(err)
		}
	})
	text, err := json.Marshal(stack.Shop{BinDir: dir, DatabaseURLs: map[string]string{stack.Billing: "postgres://billing@here"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "running.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if billing != "" {
		if err := os.WriteFile(filepath.Join(dir, stack.Billing), []byte("#!/bin/sh\n"+billing), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return settings{Data: dir}
}

func TestVerify(t *testing.T) {
	t.Setenv("PGUSER", "of another server")
	t.Setenv("DATABASE_URL", "postgres://another")
	if err := verify(t.Context(), pretend(t, t.TempDir(), `[ "$PGUSER$DATABASE_URL $1" = "postgres://billing@here verify" ]`), nil); err != nil {
		t.Errorf("billing was not called as expected: %v", err)
	}
	for billing, want := range map[string]string{
		"exit 1":     "see billing's output above",
		"kill -9 $$": "signal: killed",
		"":           "no such file",
	} {
		if err := verify(t.Context(), pretend(t, t.TempDir(), billing), nil); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", billing, err, want)
		}
	}
}
