package main

import (
	"bytes"
	"errors"
	"fmt"
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

	// Support reads what an admin reads, and changes nothing.
	if _, err := w.command("", "admin", "grant", "anna", "support"); err == nil || !strings.Contains(err.Error(), "until the upgrade of the shop is complete") {
		t.Errorf("before the upgrade is complete: %v", err)
	}
	w.exec(`UPDATE auth.opened SET level = 1`)
	must("", "admin", "grant", "anna", "support")
	w.published(id, func(u wire.UserChanged) bool { return u.Role == "support" && u.Version == 5 })
	a = r.do("POST", "/auth/refresh", "", object{"refresh_token": a.str("refresh_token")}).want(t, 200, "")
	r.do("GET", "/users", a.str("access_token"), nil).want(t, 200, "")
	r.do("PATCH", fmt.Sprint("/users/", id), a.str("access_token"), object{"enabled": true}).want(t, 403, "forbidden")
	must("", "admin", "revoke", "anna")

	for want, args := range map[string][]string{
		"the role \"king\" does":  {"admin", "grant", "anna", "king"},
		"auth admin revoke LOGIN": {"admin", "revoke", "anna", "admin"},
		"last active admin":       {"admin", "revoke", adminLogin},
		"is the last active adm":  {"admin", "grant", adminLogin, "support"},
		"user does not exist":     {"admin", "grant", "nobody"},
		"is taken":                {"admin", "create", "anna"},
		"login must":              {"admin", "create", "?"},
		"usage: auth admin":       {"admin"},
		"usage: auth admin c":     {"admin", "make", "anna"},
		"unknown command":         {"sing"},
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
	if metrics := r.metrics(); !strings.Contains(metrics, "\nauth_admin_login_is_admin 1\n") {
		t.Error("auth_admin_login_is_admin is not 1")
	}
	for want, change := range map[string]func(*Config){
		"ADMIN_LOGIN":     func(c *Config) { c.AdminLogin = "" },
		"PUBLIC_URL":      func(c *Config) { c.PublicURL = "shop.example" },
		"DATABASE_URL":    func(c *Config) { c.DatabaseURL = config.Secret{} },
		"signing_keys":    func(c *Config) { c.SigningKeys = "/nowhere/signing_keys.json" },
		"REFRESH_LIFETIM": func(c *Config) { c.RefreshLifetime = 1 },
	} {
		w.refusesToStart(want, change)
	}
}

// refusesToStart fails the test unless a replica ends with an error of one line that
// contains a text.
func (w *world) refusesToStart(want string, change func(*Config)) {
	w.t.Helper()
	cfg := w.config()
	change(&cfg)
	err := run(w.t.Context(), cfg, nil, program.Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
	if err == nil || !strings.Contains(err.Error(), want) {
		w.t.Errorf("%s: %v", want, err)
	}
	if err != nil && strings.ContainsAny(config.Sentence(err), "\n") {
		w.t.Errorf("more than one line: %q", config.Sentence(err))
	}
}

// Without an admin, a login or password that can't be used is a mistake of the first
// start. With one, nothing of it keeps auth from starting.
func TestTheFirstAdminCannotBeCreated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	unusable := map[string]func(*Config){
		"easy to guess":  func(c *Config) { c.AdminLogin, c.AdminPassword = "chief", config.Hide("password123") },
		"characters":     func(c *Config) { c.AdminLogin = "?" },
		"ADMIN_PASSWORD": func(c *Config) { c.AdminLogin, c.AdminPassword = "chief", config.Secret{} },
	}
	for want, change := range unusable {
		w.refusesToStart(want, change)
	}
	if _, err := w.command(otherPassword, "admin", "create", "olga"); err != nil {
		t.Fatal(err)
	}
	for _, change := range unusable {
		w.start(change).withoutFirstAdmin()
	}
	if n := w.count(`auth.users`); n != 1 {
		t.Errorf("%d users", n)
	}
}

// What the first start needed may have changed since: the admin lost the role, or a
// customer has chosen the login. auth starts, and promotes no user.
func TestStartWhenADMIN_LOGINIsNoAdmin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start().admin()
	if _, err := w.command(otherPassword, "admin", "create", "olga"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.command("", "admin", "revoke", adminLogin); err != nil {
		t.Fatal(err)
	}
	r := w.start()
	r.withoutFirstAdmin()
	token := r.admin()
	r.do("GET", "/users", token, nil).want(t, 403, "forbidden")

	w.start().register("anna")
	w.exec(`UPDATE auth.users SET role = 'user'`) // and there is no admin at all
	customer := w.start(func(c *Config) { c.AdminLogin, c.AdminPassword = "Anna", config.Hide(otherPassword) })
	customer.withoutFirstAdmin()
	if n := w.count(`auth.users WHERE role = 'admin'`); n != 0 {
		t.Errorf("%d users became admins", n)
	}
	if _, err := w.command("", "admin", "grant", "olga"); err != nil {
		t.Fatal(err)
	}
	access, _ := customer.login("olga", otherPassword)
	customer.do("GET", "/users", access, nil).want(t, 200, "")
}

// withoutFirstAdmin fails the test unless the replica serves, and says that ADMIN_LOGIN
// is not an admin's and what to do.
func (r *replica) withoutFirstAdmin() {
	r.t.Helper()
	waittest.Eventually(r.t, "the warning", func() bool {
		return strings.Contains(r.log.String(), "ADMIN_LOGIN is not an admin's") && strings.Contains(r.log.String(), "auth admin create")
	})
	if metrics := r.metrics(); !strings.Contains(metrics, "\nauth_admin_login_is_admin 0\n") {
		r.t.Error("auth_admin_login_is_admin is not 0")
	}
}
