package main

import (
	"fmt"
	"strings"
	"testing"

	"lavka/libs/contract/wire"
)

// reset returns the token of a new link for a user.
func (r *replica) reset(admin string, id int64) string {
	r.t.Helper()
	a := r.do("POST", fmt.Sprintf("/users/%d/password-reset", id), admin, nil).want(r.t, 201, "")
	token, ok := strings.CutPrefix(a.str("link"), "https://shop.example/password-reset#token=")
	if !ok || len(a.body) != 1 {
		r.t.Fatalf("%s", a.text)
	}
	return token
}

func TestPasswordReset(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	access, refresh, id := r.user("anna")
	_, other := r.login("anna", goodPassword)
	admin := r.admin()
	confirm := func(token, password string) answer {
		return r.do("POST", "/auth/password-reset/confirm", "", object{"token": token, "new_password": password})
	}
	token := r.reset(admin, id)
	for name, c := range map[string]struct {
		body   any
		status int
		code   string
	}{
		"no token":          {object{"new_password": otherPassword}, 422, "validation_failed"},
		"no password":       {object{"token": token}, 422, "validation_failed"},
		"short":             {object{"token": token, "new_password": "short"}, 422, "validation_failed"},
		"easy to guess":     {object{"token": token, "new_password": "password123"}, 422, "validation_failed"},
		"like the login":    {object{"token": token, "new_password": "anna.anna.anna"}, 422, "validation_failed"},
		"an unknown token":  {object{"token": strings.Repeat("A", 43), "new_password": otherPassword}, 404, "reset_not_found"},
		"not a token":       {object{"token": "x", "new_password": otherPassword}, 404, "reset_not_found"},
		"a refresh token":   {object{"token": refresh, "new_password": otherPassword}, 404, "reset_not_found"},
		"an unknown member": {object{"token": token, "new_password": otherPassword, "login": "boss"}, 400, "malformed"},
	} {
		if a := r.do("POST", "/auth/password-reset/confirm", "", c.body); a.status != c.status || a.code() != c.code {
			t.Errorf("%s: %s, want %d %s", name, a.text, c.status, c.code)
		}
	}
	for range 5 {
		r.do("POST", "/auth/login", "", object{"login": "anna", "password": "forgotten"}).want(t, 401, "invalid_credentials")
	}
	r.do("POST", "/auth/login", "", object{"login": "anna", "password": "forgotten"}).want(t, 429, "too_many_attempts")
	confirm(token, otherPassword).want(t, 204, "")
	confirm(token, goodPassword).want(t, 404, "reset_not_found")
	r.do("GET", "/users/me", access, nil).want(t, 401, "token_invalid")
	for _, session := range []string{refresh, other} {
		r.do("POST", "/auth/refresh", "", object{"refresh_token": session}).want(t, 401, "refresh_token_invalid")
	}
	r.do("POST", "/auth/login", "", object{"login": "anna", "password": goodPassword}).want(t, 401, "invalid_credentials")
	r.login("anna", otherPassword)
	w.published(id, func(u wire.UserChanged) bool { return u.TokenVersion == 2 })

	// An inactive user stays inactive.
	_, bert := r.register("bert")
	confirm(r.reset(admin, bert), otherPassword).want(t, 204, "")
	r.do("POST", "/auth/login", "", object{"login": "bert", "password": otherPassword}).want(t, 403, "user_inactive")

	token = r.reset(admin, id)
	w.exec(`UPDATE auth.password_resets SET expires_at = now()`)
	confirm(token, goodPassword).want(t, 410, "reset_expired")

	path := fmt.Sprintf("/users/%d/password-reset", id)
	r.do("POST", path, "", nil).want(t, 401, "unauthenticated")
	user, _ := r.login("anna", otherPassword)
	r.do("POST", path, user, nil).want(t, 403, "forbidden")
	r.do("POST", "/users/999/password-reset", admin, nil).want(t, 404, "user_not_found")
	r.do("PATCH", fmt.Sprintf("/users/%d", id), admin, object{"enabled": false}).want(t, 200, "")
	r.do("POST", path, admin, nil).want(t, 403, "user_disabled")

	token = r.reset(admin, bert)
	confirm("x"+token[1:], goodPassword).want(t, 404, "reset_not_found")
	if strings.Contains(r.log.String(), token) || w.count(`auth.password_resets WHERE encode(token_hash, 'escape') LIKE '%' || $1 || '%'`, token) != 0 {
		t.Error("a token is in the log or stored in plain text")
	}
	if a := r.do("GET", fmt.Sprintf("/auth/log?subject=user/%d", bert), admin, nil).want(t, 200, ""); !strings.Contains(a.text, `"user.password_reset"`) {
		t.Errorf("the admins' log: %s", a.text)
	}
}

// A request is answered alike for any login, and limited alike.
func TestRequestPasswordReset(t *testing.T) {
	t.Parallel()
	r := newWorld(t).start()
	r.user("anna")
	request := func(login string) answer {
		return r.do("POST", "/auth/password-reset", "", object{"login": login})
	}
	for _, login := range []string{"anna", "nobody", "?", strings.Repeat("x", 1000)} {
		if a := request(login).want(t, 202, ""); a.text != "" {
			t.Errorf("%s: %q", login, a.text)
		}
	}
	request("").want(t, 422, "validation_failed")
	for _, login := range []string{"ANNA", "nobody"} {
		for range 4 {
			request(login).want(t, 202, "")
		}
		if a := request(login).want(t, 429, "too_many_attempts"); a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	r.login("anna", goodPassword) // logins are counted apart
}
