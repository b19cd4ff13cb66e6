package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lavka/deploy/local/stack"
)

// pretend makes dir look to the tools as if a shop ran on it.
func pretend(t *testing.T, dir string) settings {
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
	text, err := json.Marshal(stack.Shop{BinDir: dir, DatabaseURLs: map[string]string{
		stack.Auth: "postgres://auth@here", stack.Billing: "postgres://billing@here", stack.Catalog: "postgres://catalog@here"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "running.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return settings{Data: dir}
}

// sound is a service whose checks pass.
const sound = `
name=$(basename $0)
[ "$PGUSER$DATABASE_URL" = "postgres://$name@here" ] || { echo "called with $PGUSER$DATABASE_URL" >&2; exit 3; }
case $1 in
verify) ;;
books) [ $name = catalog ] || exit 5; echo all books;;
compare) [ $name$2 = billing- ] || exit 6; [ "$(cat)" = "all books" ] || { echo "billing can't read the books" >&2; exit 7; };;
*) exit 4;;
esac
`

func services(t *testing.T, dir string, scripts map[string]string) settings {
	t.Helper()
	cfg := pretend(t, dir)
	for name, text := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return cfg
}

func TestVerify(t *testing.T) {
	t.Setenv("PGUSER", "of another server")
	t.Setenv("DATABASE_URL", "postgres://another")
	all := func(change map[string]string) map[string]string {
		scripts := map[string]string{stack.Auth: sound, stack.Billing: sound, stack.Catalog: sound}
		maps.Copy(scripts, change)
		return scripts
	}
	if err := verify(t.Context(), services(t, t.TempDir(), all(nil)), nil); err != nil {
		t.Errorf("the services were not called as expected: %v", err)
	}
	for name, c := range map[string]struct {
		scripts map[string]string
		want    string
	}{
		"billing fails":        {all(map[string]string{stack.Billing: `[ $1 != verify ] || exit 1` + sound}), "the check of billing failed; see its output above"},
		"catalog fails":        {all(map[string]string{stack.Catalog: `[ $1 != verify ] || exit 1` + sound}), "the check of catalog failed"},
		"auth is killed":       {all(map[string]string{stack.Auth: `kill -9 $$`}), "signal: killed"},
		"there is no billing":  {map[string]string{stack.Auth: sound, stack.Catalog: sound}, "no such file"},
		"the books differ":     {all(map[string]string{stack.Billing: `[ $1 != compare ] || exit 1` + sound}), "the comparison of catalog with billing failed; see its output above"},
		"catalog's books fail": {all(map[string]string{stack.Catalog: `[ $1 != books ] || exit 1` + sound}), "writing catalog's books failed; see its output above"},
		"catalog's books end":  {all(map[string]string{stack.Catalog: `[ $1 != books ] || { echo all; exit 1; }` + sound}), "writing catalog's books failed"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := verify(t.Context(), services(t, t.TempDir(), c.scripts), nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
