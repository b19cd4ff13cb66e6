package e2e

import (
	"strings"
	"testing"
)

func TestRegistration(t *testing.T) {
	t.Parallel()
	u := shop.register(t)
	anonymous := &client{base: shop.GatewayURL()}
	credentials := func(login, password string) map[string]any {
		return map[string]any{"login": login, "password": password}
	}
	anonymous.want(t, 409, "login_taken", "POST", "/auth/register", credentials(strings.ToUpper(u.login), u.password))
	for _, c := range []struct{ login, password, field string }{
		{"", u.password, "login"}, {"ab", u.password, "login"}, {"has space", u.password, "login"}, {"кот", u.password, "login"},
		{strings.Repeat("x", 65), u.password, "login"},
		{"fine-login", "", "password"}, {"fine-login", "short", "password"}, {"fine-login", "password1", "password"},
		{"fine-login", "fine-login1", "password"}, {"fine-login", strings.Repeat("Zx9!", 100), "password"},
	} {
		a := anonymous.want(t, 422, "validation_failed", "POST", "/auth/register", credentials(c.login, c.password))
		if a.str("errors.0.field") != c.field {
			t.Errorf("%q %q: %s, want %s", c.login, c.password, a, c.field)
		}
	}
	for _, body := range []string{`{"login": "a", "login": "b", "password": "c"}`, `{"Login": "abc", "password": "c"}`, `{"login": "a\u0000b", "password": "x"}`, `{"login": 7, "password": "x"}`, `{"login": "abc", "password": "x", "role": "admin"}`} {
		anonymous.want(t, 400, "malformed", "POST", "/auth/register", []byte(body))
	}

	anonymous.want(t, 403, "user_inactive", "POST", "/auth/login", credentials(u.login, u.password))
	anonymous.want(t, 401, "invalid_credentials", "POST", "/auth/activation", credentials(u.login, "wrong"))
	link := anonymous.want(t, 201, "", "POST", "/auth/activation", credentials(u.login, u.password)).str("activation_link")
	if link == u.activation || !strings.HasPrefix(link, shop.GatewayURL()) {
		t.Errorf("a new link: %s", link)
	}
	anonymous.want(t, 404, "activation_not_found", "GET", "/auth/activate/nobodys", nil)
	path := strings.TrimPrefix(link, shop.GatewayURL())
	anonymous.want(t, 200, "", "HEAD", path, nil) // as a link scanner does
	anonymous.want(t, 403, "user_inactive", "POST", "/auth/login", credentials(u.login, u.password))
	anonymous.want(t, 200, "", "POST", "/auth/activate", map[string]any{"token": strings.TrimPrefix(path, "/auth/activate/")})
	for range 3 {
		if a := anonymous.want(t, 200, "", "GET", path, nil); a.str("user.status") != "active" || a.int("user.id") != u.id {
			t.Errorf("%s", a)
		}
	}
	anonymous.want(t, 409, "already_active", "POST", "/auth/activation", credentials(u.login, u.password))
	a := anonymous.want(t, 200, "", "POST", "/auth/login", credentials(strings.ToUpper(u.login), u.password))
	if a.str("token_type") != "Bearer" || a.int("expires_in") != 600 || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %v", a, a.header)
	}
	me := (&client{base: u.base, token: a.str("access_token")}).want(t, 200, "", "GET", "/users/me", nil)
	if me.str("login") != u.login || me.str("role") != "user" || me.int("id") != u.id {
		t.Errorf("%s", me)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	u := shop.newUser(t)
	token := func(refresh string) map[string]any { return map[string]any{"refresh_token": refresh} }
	first := u.refresh
	a := u.want(t, 200, "", "POST", "/auth/refresh", token(first))
	second := a.str("refresh_token")
	if second == first || second == "" {
		t.Errorf("a refresh returned the old refresh token")
	}
	// The response may have been lost: for ten seconds the used token returns the same one again.
	if again := u.want(t, 200, "", "POST", "/auth/refresh", token(first)).str("refresh_token"); again != second {
		t.Error("the used token returned another refresh token")
	}
	u.want(t, 401, "refresh_token_invalid", "POST", "/auth/refresh", token("nobodys"))

	stranger := shop.newUser(t)
	stranger.want(t, 204, "", "POST", "/auth/logout", token(second)) // not their token: nothing happens
	third := u.want(t, 200, "", "POST", "/auth/refresh", token(second)).str("refresh_token")
	u.want(t, 204, "", "POST", "/auth/logout", token(third))
	u.want(t, 401, "refresh_token_invalid", "POST", "/auth/refresh", token(third))
	u.want(t, 204, "", "POST", "/auth/logout", token(third))

	keys := u.want(t, 200, "", "GET", "/.well-known/jwks.json", nil)
	if keys.str("keys.0.kid") == "" || strings.Contains(string(keys.body), `"d"`) {
		t.Errorf("%s", keys)
	}
}

// A client that guesses passwords is slowed down; the owner at another address is
// not. All clients here share one address, so this test has its own shop.
func TestGuessingIsSlowedDown(t *testing.T) {
	t.Parallel()
	s := startShop(t, nil)
	u := s.newUser(t)
	slowed := false
	for range 20 {
		a := u.call(t, "POST", "/auth/login", map[string]any{"login": u.login, "password": "a guess"})
		if a.status == 429 {
			slowed = true
			if a.code() != "too_many_attempts" || a.header.Get("Retry-After") == "" {
				t.Errorf("%s %v", a, a.header)
			}
			break
		}
		if a.status != 401 {
			t.Errorf("%s", a)
		}
	}
	if !slowed {
		t.Error("twenty guesses were allowed")
	}
	// A client can't change its address with X-Forwarded-For.
	if a := u.call(t, "POST", "/auth/login", map[string]any{"login": u.login, "password": u.password}, "X-Forwarded-For", "203.0.113.9"); a.status != 429 {
		t.Errorf("with a made-up X-Forwarded-For: %s", a)
	}
	other := s.register(t)
	if a := u.call(t, "POST", "/auth/login", map[string]any{"login": other.login, "password": other.password}); a.code() != "user_inactive" {
		t.Errorf("another login from the same address: %s", a)
	}
}
