package main

import (
	"strings"
	"testing"

	"lavka/libs/wire"
)

func TestFromRegistrationToLogout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()

	link, id := r.register("Anna.K")
	credentials := object{"login": "anna.k", "password": goodPassword}
	r.do("POST", "/auth/login", "", credentials).want(t, 403, "user_inactive")
	for range 2 {
		a := r.do("GET", link, "", nil).want(t, 200, "")
		if u := a.body["user"].(object); u["status"] != "active" || u["login"] != "Anna.K" || u["role"] != "user" {
			t.Errorf("activated user: %v", u)
		}
	}
	r.do("HEAD", link, "", nil).want(t, 200, "")

	a := r.do("POST", "/auth/login", "", credentials).want(t, 200, "")
	if a.str("token_type") != "Bearer" || a.body["expires_in"] != 600.0 || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("login: %s %v", a.text, a.header)
	}
	access, refresh := a.str("access_token"), a.str("refresh_token")
	if me := r.do("GET", "/users/me", access, nil).want(t, 200, ""); me.body["id"] != float64(id) || me.body["status"] != "active" {
		t.Errorf("me: %s", me.text)
	}
	published := w.published(id, func(u wire.UserChanged) bool { return u.Status == "active" })
	if published.Login != "Anna.K" || published.Role != "user" || published.Version != 2 || published.TokenVersion != 1 || published.CreatedAt.IsZero() {
		t.Errorf("published: %+v", published)
	}

	a = r.do("POST", "/auth/refresh", "", object{"refresh_token": refresh}).want(t, 200, "")
	if a.str("refresh_token") == refresh || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("refresh: %s %v", a.text, a.header)
	}
	access, refresh = a.str("access_token"), a.str("refresh_token")
	r.do("POST", "/auth/logout", access, object{"refresh_token": refresh}).want(t, 204, "")
	r.do("POST", "/auth/refresh", "", object{"refresh_token": refresh}).want(t, 401, "refresh_token_invalid")
	r.do("POST", "/auth/logout", access, object{"refresh_token": refresh}).want(t, 204, "")

	for _, secret := range []string{goodPassword, access, refresh, strings.TrimPrefix(link, "/auth/activate/")} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("the log holds the secret %q", secret)
		}
	}
}
