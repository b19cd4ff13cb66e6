package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"lavka/libs/service/program"
	"lavka/libs/testkit/waittest"
)

func keysCommand(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), Config{}, append([]string{"keys"}, args...), program.Streams{In: strings.NewReader(""), Out: &out, Err: io.Discard})
	return strings.TrimSpace(out.String()), err
}

func TestKeysCommand(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	must := func(args ...string) string {
		t.Helper()
		out, err := keysCommand(t, args...)
		if err != nil {
			t.Fatalf("keys %v: %v", args, err)
		}
		return out
	}
	first := must("new", file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	second := must("new", file)
	if got := must("list", file); got != first+" signing\n"+second+" published" {
		t.Errorf("list: %s", got)
	}
	for _, args := range [][]string{{"promote", file, second}, {"list", file}} {
		if got, want := must(args...), second+" signing\n"+first+" published"; got != want {
			t.Errorf("%s: %s, want %s", args[0], got, want)
		}
	}
	before := readFile(t, file)
	for _, args := range [][]string{
		{"remove", file, second}, {"remove", file, "x"}, {"promote", file, "x"}, {"list", file + "x"}, {"promote", file + "x", first},
		{"new"}, {"new", ""}, {"remove", file}, {}, {"x", file},
	} {
		if out, err := keysCommand(t, args...); err == nil {
			t.Errorf("keys %v: %s", args, out)
		}
	}
	if readFile(t, file) != before {
		t.Error("a refused command changed the file")
	}
	if got, want := must("remove", file, first), second+" signing"; got != want {
		t.Errorf("remove: %s, want %s", got, want)
	}
	if _, err := keysCommand(t, "remove", file, second); err == nil {
		t.Error("the last key was removed")
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("files left behind: %v %v", entries, err)
	}
	// The file keeps its permissions.
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	must("new", file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	old, _, _ := r.user("anna")
	oldKey := kid(t, old)
	jwks := func() string {
		a := r.do("GET", "/.well-known/jwks.json", "", nil).want(t, 200, "")
		if strings.Contains(a.text, `"d"`) || a.header.Get("Cache-Control") != "public, max-age=60" {
			t.Fatalf("%s %v", a.text, a.header)
		}
		return a.text
	}
	newKey, err := keysCommand(t, "new", w.keys)
	if err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "the new key is published", func() bool { return strings.Contains(jwks(), newKey) })
	if token, _ := r.login("anna", goodPassword); kid(t, token) != oldKey {
		t.Error("the new key signs before it is promoted")
	}
	if _, err := keysCommand(t, "promote", w.keys, newKey); err != nil {
		t.Fatal(err)
	}
	var fresh string
	waittest.Eventually(t, "the new key signs", func() bool {
		fresh, _ = r.login("anna", goodPassword)
		return kid(t, fresh) == newKey
	})
	r.do("GET", "/users/me", old, nil).want(t, 200, "")

	// A broken file is ignored until it is repaired.
	good := readFile(t, w.keys)
	if err := os.WriteFile(w.keys, []byte(good[:len(good)/2]), 0o600); err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "the broken file is noticed", func() bool {
		return strings.Contains(r.log.String(), "can't read the signing keys; keeping the current ones")
	})
	r.do("GET", "/users/me", old, nil).want(t, 200, "")
	if err := os.WriteFile(w.keys, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keysCommand(t, "remove", w.keys, oldKey); err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "the old key is gone", func() bool { return !strings.Contains(jwks(), oldKey) })
	r.do("GET", "/users/me", fresh, nil).want(t, 200, "")
	// A replica that has not verified the old token before refuses it at once; one
	// that has caches the result for up to a minute.
	w.start().do("GET", "/users/me", old, nil).want(t, 401, "token_invalid")
}

func kid(t *testing.T, token string) string {
	t.Helper()
	parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := parsed.Header["kid"].(string)
	return id
}
