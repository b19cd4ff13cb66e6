package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lavka/deploy/local/stack"
	"lavka/libs/testkit/waittest"
)

// protected is a route of each service that needs a token.
var protected = map[string]string{stack.Auth: "/users/me", stack.Catalog: "/products", stack.Billing: "/bills"}

// untilRefused waits until all services refuse a user's token, and returns how
// long that took.
func (s *shopUnderTest) untilRefused(t *testing.T, u *user) time.Duration {
	t.Helper()
	start := time.Now()
	for service, path := range protected {
		waittest.Eventually(t, service+" refuses the token", func() bool {
			a := u.call(t, "GET", path, nil)
			return a.status == 401 && a.code() == "token_invalid"
		})
	}
	return time.Since(start)
}

func (s *shopUnderTest) admitted(t *testing.T, u *user) {
	t.Helper()
	for _, path := range protected {
		u.want(t, 200, "", "GET", path, nil)
	}
}

func TestADisabledUserLosesAccessEverywhere(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	shop.admitted(t, u)
	bill := shop.bill(t, u, "10")
	old := *u.client
	shop.disable(t, u)
	u.want(t, 403, "user_disabled", "POST", "/auth/login", map[string]any{"login": u.login, "password": u.password})
	u.want(t, 401, "invalid_credentials", "POST", "/auth/login", map[string]any{"login": u.login, "password": "wrong"})
	u.want(t, 401, "refresh_token_invalid", "POST", "/auth/refresh", map[string]any{"refresh_token": u.refresh})
	u.want(t, 403, "user_disabled", "GET", strings.TrimPrefix(u.activation, shop.GatewayURL()), nil)
	shop.pay(t, u.id, bill, "5") // a disabled user's payments are still credited

	a := shop.admin.want(t, 200, "", "PATCH", fmt.Sprint("/users/", u.id), map[string]any{"enabled": true})
	if a.str("status") != "active" {
		t.Errorf("enabled again: %s", a)
	}
	if a := old.call(t, "GET", "/users/me", nil); a.status != 401 {
		t.Errorf("a revoked token became valid again: %s", a)
	}
	u.logIn(t)
	shop.admitted(t, u)
	if b := u.balance(t, bill); b != "15" {
		t.Errorf("balance %s", b)
	}
}

func TestAChangedPasswordEndsEverySession(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	elsewhere := *u
	elsewhere.client = &client{base: u.base}
	elsewhere.logIn(t)
	const next = "quite-another-battery-staple-77"
	u.want(t, 401, "invalid_credentials", "POST", "/auth/password", map[string]any{"old_password": "wrong", "new_password": next})
	u.want(t, 422, "validation_failed", "POST", "/auth/password", map[string]any{"old_password": u.password, "new_password": "password1"})
	u.want(t, 204, "", "POST", "/auth/password", map[string]any{"old_password": u.password, "new_password": next})
	shop.untilRefused(t, u)
	shop.untilRefused(t, &elsewhere)
	u.want(t, 401, "refresh_token_invalid", "POST", "/auth/refresh", map[string]any{"refresh_token": elsewhere.refresh})
	u.want(t, 401, "invalid_credentials", "POST", "/auth/login", map[string]any{"login": u.login, "password": u.password})
	u.password = next
	u.logIn(t)
	shop.admitted(t, u)
}

func TestAForgottenPassword(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	elsewhere := *u
	elsewhere.client = &client{base: u.base}
	elsewhere.logIn(t)
	anyone := &client{base: u.base}
	for _, login := range []string{u.login, "nobody-at-all"} {
		if a := anyone.want(t, 202, "", "POST", "/auth/password-reset", map[string]any{"login": login}); len(a.body) != 0 {
			t.Errorf("%s", a)
		}
	}
	const next = "quite-another-battery-staple-78"
	token := shop.reset(t, u)
	anyone.want(t, 204, "", "POST", "/auth/password-reset/confirm", map[string]any{"token": token, "new_password": next})
	shop.untilRefused(t, u)
	shop.untilRefused(t, &elsewhere)
	anyone.want(t, 404, "reset_not_found", "POST", "/auth/password-reset/confirm", map[string]any{"token": token, "new_password": next})
	anyone.want(t, 401, "refresh_token_invalid", "POST", "/auth/refresh", map[string]any{"refresh_token": elsewhere.refresh})
	anyone.want(t, 401, "invalid_credentials", "POST", "/auth/login", map[string]any{"login": u.login, "password": u.password})
	u.password = next
	u.logIn(t)
	shop.admitted(t, u)
}

// reset returns the token of a link to reset a user's password, which the admin creates.
func (s *shopUnderTest) reset(t *testing.T, u *user) string {
	t.Helper()
	a := s.admin.want(t, 201, "", "POST", fmt.Sprintf("/users/%d/password-reset", u.id), nil)
	token, ok := strings.CutPrefix(a.str("link"), s.GatewayURL()+"/password-reset#token=")
	if !ok {
		t.Fatalf("%s", a)
	}
	return token
}

func TestAChangedRoleNeedsANewToken(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	u.want(t, 403, "forbidden", "GET", "/customers", nil)
	for _, change := range []struct {
		command string
		status  int
		code    string
	}{{"grant", 200, ""}, {"revoke", 403, "forbidden"}} {
		out, err := shop.Command(t.Context(), stack.Auth, "admin", change.command, u.login).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		shop.untilRefused(t, u)
		u.logIn(t)
		u.want(t, change.status, change.code, "GET", "/customers", nil)
		u.want(t, change.status, change.code, "GET", "/users", nil)
	}
}

// The design promises less than a second. A machine that is busy with other tests
// may exceed that now and then, but not five times in a row.
func TestRevocationTakesLessThanASecond(t *testing.T) {
	t.Parallel()
	var took []time.Duration
	for range 5 {
		u := shop.newUser(t)
		shop.admitted(t, u)
		shop.admin.want(t, 200, "", "PATCH", fmt.Sprint("/users/", u.id), map[string]any{"enabled": false})
		took = append(took, shop.untilRefused(t, u).Round(time.Millisecond))
		if took[len(took)-1] < time.Second {
			t.Logf("refused by all services after %v", took)
			return
		}
	}
	t.Errorf("refused by all services after %v, want less than a second at least once", took)
}

// A replica that has just started must refuse the tokens that the others refuse.
func TestAReplicaThatHasJustStarted(t *testing.T) {
	t.Parallel()
	s := startShop(t, nil)
	u, out, ended := s.newUser(t), s.newUser(t), s.newUser(t)
	s.disable(t, out)
	own := ended.want(t, 200, "", "GET", "/auth/sessions", nil).str("items.0.id")
	ended.want(t, 204, "", "DELETE", "/auth/sessions/"+own, nil)
	for service, path := range protected {
		r := s.Replicas(service)[0]
		must(t, r.Restart(t.Context()))
		direct := func(token string) answer { return (&client{base: r.URL(), token: token}).call(t, "GET", path, nil) }
		waittest.Eventually(t, service+" accepts valid tokens", func() bool {
			if a := direct(out.token); a.status != 401 && a.code() != "starting" {
				t.Fatalf("%s answered a disabled user after its start: %s", service, a)
			}
			return direct(u.token).status == 200
		})
		if a := direct(out.token); a.status != 401 {
			t.Errorf("%s answered a disabled user: %s", service, a)
		}
		if a := direct(ended.token); a.status != 401 {
			t.Errorf("%s answered a session that was ended: %s", service, a)
		}
	}
}
