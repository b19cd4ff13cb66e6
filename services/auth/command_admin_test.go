package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"lavka/libs/contract/wire"
	"lavka/libs/service/config"
	"lavka/libs/service/program"
	"lavka/libs/testkit/waittest"
	"lavka/services/auth/internal/auth"
)

func (w *world) command(stdin string, args ...string) (string, error) {
	w.t.Helper()
	cfg := w.config()
	cfg.AdminPassword = config.Secret{}
	var out bytes.Buffer
	err := run(w.t.Context(), cfg, args, program.Streams{In: strings.NewReader(stdin), Out: &out, Err: io.Discard})
	return out.String(), err
}

func TestAdminCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	must := func(stdin string, args ...string) {
		t.Helper()
		if _, err := w.command(stdin, args...); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	must(otherPassword+"\n", "admin", "create", "Chief")
	chief, _ := r.login("chief", otherPassword)
	r.do("GET", "/users", chief, nil).want(t, 200, "")

	access, refresh, id := r.user("anna")
	must("", "admin", "grant", "ANNA")
	w.published(id, func(u wire.UserChanged) bool { return u.Role == "admin" && u.TokenVersion == 2 })
	waittest.Eventually(t, "the old role's token is revoked", func() bool { return r.do("GET", "/users/me", access, nil).status == 401 })
	// The session continues, and its next token carries the new role.
	a := r.do("POST", "/auth/refresh", "", object{"refresh_token": refresh}).want(t, 200, "")
	r.do("GET", "/users", a.str("access_token"), nil).want(t, 200, "")
	must("", "admin", "grant", "anna")
	must("", "admin", "revoke", "anna")
	w.published(id, func(u wire.UserChanged) bool { return u.Role == "user" && u.Version == 4 })
	must("", "admin", "revoke", "chief")

	for want, args := range map[string][]string{
		"last active admin":   {"admin", "revoke", adminLogin},
		"user does not exist": {"admin", "grant", "nobody"},
		"is taken":            {"admin", "create", "anna"},
		"login must":          {"admin", "create", "?"},
		"usage: auth admin":   {"admin"},
		"usage: auth admin c": {"admin", "make", "anna"},
		"unknown command":     {"sing"},
	} {
		if _, err := w.command(otherPassword, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
	if _, err := w.command("password123", "admin", "create", "dora"); err == nil || !strings.Contains(err.Error(), "easy to guess") {
		t.Errorf("a weak password: %v, want it refused", err)
	}
	if _, err := w.command("", "admin", "create", "dora"); err == nil || !strings.Contains(err.Error(), "no password") {
		t.Errorf("no password: %v, want it refused", err)
	}
	// An inactive admin does not count as another admin.
	w.exec(`INSERT INTO auth.users (login, password_hash, role) VALUES ('sleeper', 'x', 'admin')`)
	if _, err := w.command("", "admin", "revoke", adminLogin); !errors.Is(err, auth.ErrLastAdmin) {
		t.Errorf("revoking the last active admin: %v", err)
	}
}

func TestFirstAdmin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Several replicas start at once.
	replicas := []*replica{w.launch(), w.launch(), w.launch()}
	for _, r := range replicas {
		r.waitReady()
		r.admin()
	}
	if n := w.count(`auth.users WHERE role = 'admin' AND activated_at IS NOT NULL`); n != 1 {
		t.Errorf("%d admins", n)
	}
	// An existing admin keeps their password.
	r := w.start(func(c *Config) { c.AdminLogin, c.AdminPassword = "BOSS", config.Hide(otherPassword) })
	r.admin()

	r.register("anna")
	for want, change := range map[string]func(*Config){
		"without that role": func(c *Config) { c.AdminLogin = "anna" },
		"easy to guess":     func(c *Config) { c.AdminLogin, c.AdminPassword = "chief", config.Hide("password123") },
		"characters":        func(c *Config) { c.AdminLogin = "?" },
		"together":          func(c *Config) { c.AdminPassword = config.Secret{} },
		"PUBLIC_URL":        func(c *Config) { c.PublicURL = "shop.example" },
		"DATABASE_URL":      func(c *Config) { c.DatabaseURL = config.Secret{} },
		"signing_keys":      func(c *Config) { c.SigningKeys = "/nowhere/signing_keys.json" },
		"REFRESH_LIFETIM":   func(c *Config) { c.RefreshLifetime = 1 },
	} {
		cfg := w.config()
		change(&cfg)
		err := run(t.Context(), cfg, nil, program.Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if err != nil && strings.ContainsAny(config.Sentence(err), "\n") {
			t.Errorf("more than one line: %q", config.Sentence(err))
		}
	}
}
