package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lavka/libs/contract/wire"
	"lavka/libs/testkit/waittest"
	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/keys"
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
			t.Errorf("the log contains the secret %q", secret)
		}
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	r := newWorld(t).start()
	r.user("Anna")
	for name, c := range map[string]struct {
		body   any
		status int
		code   string
	}{
		"wrong password": {object{"login": "anna", "password": "x"}, 401, "invalid_credentials"},
		"unknown login":  {object{"login": "bert", "password": goodPassword}, 401, "invalid_credentials"},
		"no login":       {object{"login": "?", "password": goodPassword}, 401, "invalid_credentials"},
		"long":           {object{"login": "anna", "password": strings.Repeat("x", 60000)}, 401, "invalid_credentials"},
		"empty login":    {object{"login": "", "password": goodPassword}, 422, "validation_failed"},
		"empty password": {object{"login": "anna", "password": ""}, 422, "validation_failed"},
		"no body":        {"", 400, "malformed"},
		"unknown member": {object{"login": "anna", "password": goodPassword, "x": 1}, 400, "malformed"},
	} {
		if a := r.do("POST", "/auth/login", "", c.body); a.status != c.status || a.code() != c.code {
			t.Errorf("%s: %s", name, a.text)
		}
	}
	// The responses to an unknown login and to a wrong password are identical.
	strip := func(a answer) string { return strings.ReplaceAll(a.text, a.str("trace_id"), "") }
	unknown := r.do("POST", "/auth/login", "", object{"login": "bert", "password": "x"})
	wrong := r.do("POST", "/auth/login", "", object{"login": "anna", "password": "x"})
	if strip(unknown) != strip(wrong) {
		t.Errorf("%s differs from %s", unknown.text, wrong.text)
	}
	r.login("ANNA", goodPassword)
}

func TestFailedLoginsAreThrottled(t *testing.T) {
	t.Parallel()
	r := newWorld(t).start(func(c *Config) {
		if err := c.TrustedProxies.Decode("127.0.0.1"); err != nil {
			t.Error(err)
		}
	})
	access, _, _ := r.user("anna")
	for range 5 {
		r.do("POST", "/auth/login", "", object{"login": "anna", "password": "x"}).want(t, 401, "invalid_credentials")
	}
	a := r.do("POST", "/auth/login", "", object{"login": "anna", "password": goodPassword}).want(t, 429, "too_many_attempts")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	r.do("POST", "/auth/activation", "", object{"login": "anna", "password": goodPassword}).want(t, 429, "too_many_attempts")
	r.do("POST", "/auth/password", access, object{"old_password": goodPassword, "new_password": otherPassword}).want(t, 429, "too_many_attempts")

	// The owner logs in from another address, through the trusted proxy.
	req, err := http.NewRequestWithContext(t.Context(), "POST", r.url+"/auth/login", strings.NewReader(`{"login":"anna","password":"`+goodPassword+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Forwarded-For", "198.51.100.7")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("the owner from another address: %s", resp.Status)
	}
}

func TestForwardedAddressOfAStrangerDoesNotCount(t *testing.T) {
	t.Parallel()
	r := newWorld(t).start()
	status := 0
	for i := range 6 {
		req, err := http.NewRequestWithContext(t.Context(), "POST", r.url+"/auth/login", strings.NewReader(`{"login":"anna","password":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		status = resp.StatusCode
	}
	if status != 429 {
		t.Errorf("the sixth attempt: %d", status)
	}
}

func TestRefreshGraceAndReuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	_, first, _ := r.user("anna")
	refresh := func(token string) answer { return r.do("POST", "/auth/refresh", "", object{"refresh_token": token}) }

	second := refresh(first).want(t, 200, "").str("refresh_token")
	again := refresh(first).want(t, 200, "").str("refresh_token") // the response was lost
	if second != again || second == first {
		t.Error("a token has two successors, or none")
	}
	second = refresh(second).want(t, 200, "").str("refresh_token")

	// Used again later, the first token must have been stolen: its whole session
	// ends.
	w.exec(`UPDATE auth.refresh_tokens SET spent_at = spent_at - interval '11 seconds' WHERE spent_at IS NOT NULL`)
	refresh(first).want(t, 401, "refresh_token_invalid")
	refresh(second).want(t, 401, "refresh_token_invalid")

	// Another session of the same user continues.
	_, other := r.login("anna", goodPassword)
	other = refresh(other).want(t, 200, "").str("refresh_token")
	w.exec(`UPDATE auth.refresh_tokens SET expires_at = now() WHERE spent_at IS NULL`)
	refresh(other).want(t, 401, "refresh_token_invalid")

	// A session ends after 90 days however often it is refreshed.
	_, long := r.login("anna", goodPassword)
	w.exec(`UPDATE auth.sessions SET created_at = created_at - interval '90 days' + interval '1 minute'`)
	long = refresh(long).want(t, 200, "").str("refresh_token")
	w.exec(`UPDATE auth.sessions SET created_at = created_at - interval '1 minute'`)
	refresh(long).want(t, 401, "refresh_token_invalid")

	for _, body := range []any{object{"refresh_token": "x"}, object{"refresh_token": strings.Repeat("A", 43)}} {
		r.do("POST", "/auth/refresh", "", body).want(t, 401, "refresh_token_invalid")
	}
	r.do("POST", "/auth/refresh", "", object{}).want(t, 422, "validation_failed")
	if n := w.count(`auth.refresh_tokens WHERE encode(token_hash, 'escape') LIKE '%' || $1 || '%'`, first); n != 0 {
		t.Error("a token is stored in plain text")
	}
}

func TestRefreshManyAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// On a busy machine, 20 refreshes at once may take longer than the grace. Here it lasts for an hour more.
	w.exec(`
		CREATE FUNCTION spent_later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.spent_at := NEW.spent_at + interval '1 hour'; RETURN NEW; END $$`)
	w.exec(`
		CREATE TRIGGER spent_later BEFORE UPDATE OF spent_at ON auth.refresh_tokens FOR EACH ROW EXECUTE FUNCTION spent_later()`)
	replicas := []*replica{w.start(), w.start()}
	_, token, _ := replicas[0].user("anna")
	for range 5 { // each with the token of the one before
		successors := make([]string, 20)
		var all sync.WaitGroup
		for i := range successors {
			all.Go(func() {
				a, err := replicas[i%2].patient("POST", "/auth/refresh", "", object{"refresh_token": token})
				if err != nil {
					t.Error(err)
					return
				}
				if a.status != 200 {
					t.Errorf("%d %s", a.status, a.text)
					return
				}
				successors[i] = a.str("refresh_token")
			})
		}
		all.Wait()
		if slices.Sort(successors); successors[0] != successors[len(successors)-1] || successors[0] == token {
			t.Fatal("a token has more than one successor, or none")
		}
		token = successors[0]
	}
	replicas[0].do("POST", "/auth/refresh", "", object{"refresh_token": token}).want(t, 200, "")
	if n := w.count(`auth.sessions WHERE ended_at IS NOT NULL`); n != 0 {
		t.Errorf("%d sessions have ended, want 0", n)
	}
	if n := w.count(`auth.refresh_tokens WHERE spent_at < now() + interval '1 minute'`); n != 0 {
		t.Errorf("%d tokens were spent within the grace of now: the trigger did not work", n)
	}
}

func TestLogoutEndsOnlyOwnSessions(t *testing.T) {
	t.Parallel()
	r := newWorld(t).start()
	anna, annas, _ := r.user("anna")
	bert, berts, _ := r.user("bert")
	r.do("POST", "/auth/logout", anna, object{"refresh_token": berts}).want(t, 204, "")
	r.do("POST", "/auth/logout", anna, object{"refresh_token": "x"}).want(t, 204, "")
	r.do("POST", "/auth/logout", anna, object{}).want(t, 422, "validation_failed")
	berts = r.do("POST", "/auth/refresh", "", object{"refresh_token": berts}).want(t, 200, "").str("refresh_token")
	_, elsewhere := r.login("anna", goodPassword)
	r.do("POST", "/auth/logout", anna, object{"refresh_token": annas}).want(t, 204, "")
	r.do("POST", "/auth/refresh", "", object{"refresh_token": annas}).want(t, 401, "refresh_token_invalid")
	r.do("POST", "/auth/refresh", "", object{"refresh_token": elsewhere}).want(t, 200, "")
	r.do("POST", "/auth/logout", bert, object{"refresh_token": berts}).want(t, 204, "")
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	access, refresh, id := r.user("anna")
	_, elsewhere := r.login("anna", goodPassword)
	change := func(old, next string) answer {
		return r.do("POST", "/auth/password", access, object{"old_password": old, "new_password": next})
	}
	change("wrong", otherPassword).want(t, 401, "invalid_credentials")
	if a := change(goodPassword, "password123").want(t, 422, "validation_failed"); !strings.Contains(a.text, `"field":"new_password"`) {
		t.Errorf("%s", a.text)
	}
	change(goodPassword, "short").want(t, 422, "validation_failed")
	change(goodPassword, "").want(t, 422, "validation_failed")
	change(goodPassword, otherPassword).want(t, 204, "")

	waittest.Eventually(t, "the access token is revoked", func() bool { return r.do("GET", "/users/me", access, nil).code() == "token_invalid" })
	for _, token := range []string{refresh, elsewhere} {
		r.do("POST", "/auth/refresh", "", object{"refresh_token": token}).want(t, 401, "refresh_token_invalid")
	}
	r.do("POST", "/auth/login", "", object{"login": "anna", "password": goodPassword}).want(t, 401, "invalid_credentials")
	access, _ = r.login("anna", otherPassword)
	r.do("GET", "/users/me", access, nil).want(t, 200, "")
	if u := w.published(id, func(u wire.UserChanged) bool { return u.TokenVersion == 2 }); u.Version != 3 {
		t.Errorf("%+v", u)
	}
}

func TestSessionList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	access, refresh, id := r.user("anna")
	phone, phones := r.login("anna", goodPassword)
	sessions := func(token string) (ids []string, current int) {
		t.Helper()
		current = -1
		for i, item := range r.do("GET", "/auth/sessions", token, nil).want(t, 200, "").body["items"].([]any) {
			s := item.(object)
			ids = append(ids, s["id"].(string))
			if s["current"] == true {
				current = i
			}
			if s["created_at"] == nil || s["last_used_at"] == nil || len(s) != 4 {
				t.Errorf("%v", s)
			}
		}
		return ids, current
	}
	ids, current := sessions(access)
	if _, other := sessions(phone); len(ids) != 2 || current != 1 || other != 0 {
		t.Fatalf("sessions %v, current %d and %d", ids, current, other)
	}
	for path, c := range map[string]struct {
		status int
		code   string
	}{
		"/auth/sessions/x": {400, "malformed"},
		"/auth/sessions/" + strings.ReplaceAll(ids[0], "-", ""): {400, "malformed"},
		"/auth/sessions/01976b1e-0000-7000-8000-000000000001":   {404, "session_not_found"},
		"/auth/sessions":              {400, "malformed"},
		"/auth/sessions?others=false": {422, "validation_failed"},
		"/auth/sessions?others=":      {422, "validation_failed"},
		"/auth/sessions?all=true":     {400, "malformed"},
	} {
		if a := r.do("DELETE", path, access, nil); a.status != c.status || a.code() != c.code {
			t.Errorf("DELETE %s: %s, want %d %s", path, a.text, c.status, c.code)
		}
	}
	if a := r.do("DELETE", "/auth/sessions", access, nil); a.str("detail") != "the parameter others is required" {
		t.Errorf("without others: %s", a.text)
	}
	if again, _ := sessions(access); len(again) != 2 {
		t.Fatal("a request that was refused ended a session")
	}

	// Each device goes on after a refresh; the one whose session was ended does not.
	renew := func(token *string, refresh *string) {
		t.Helper()
		r.do("GET", "/users/me", *token, nil).want(t, 401, "token_invalid")
		a := r.do("POST", "/auth/refresh", "", object{"refresh_token": *refresh}).want(t, 200, "")
		*token, *refresh = a.str("access_token"), a.str("refresh_token")
	}
	r.do("DELETE", "/auth/sessions/"+ids[0], access, nil).want(t, 204, "")
	r.do("GET", "/users/me", phone, nil).want(t, 401, "token_invalid")
	r.do("POST", "/auth/refresh", "", object{"refresh_token": phones}).want(t, 401, "refresh_token_invalid")
	renew(&access, &refresh)
	r.do("DELETE", "/auth/sessions/"+ids[0], access, nil).want(t, 404, "session_not_found")
	w.published(id, func(u wire.UserChanged) bool { return u.TokenVersion == 2 })

	tablet, tablets := r.login("anna", goodPassword)
	_, phones = r.login("anna", goodPassword)
	r.do("DELETE", "/auth/sessions?others=true", tablet, nil).want(t, 204, "")
	r.do("POST", "/auth/refresh", "", object{"refresh_token": phones}).want(t, 401, "refresh_token_invalid")
	r.do("POST", "/auth/refresh", "", object{"refresh_token": refresh}).want(t, 401, "refresh_token_invalid")
	renew(&tablet, &tablets)
	if left, current := sessions(tablet); len(left) != 1 || current != 0 {
		t.Errorf("%v, want only the own one", left)
	}
	r.do("DELETE", "/auth/sessions?others=true", w.withoutSession(id, 3), nil).want(t, 409, "log_in_again")

	// An admin ends all of them; the user may log in again.
	admin := r.admin()
	path := fmt.Sprintf("/users/%d/sessions", id)
	r.do("DELETE", path, tablet, nil).want(t, 403, "forbidden")
	r.do("DELETE", "/users/999/sessions", admin, nil).want(t, 404, "user_not_found")
	r.do("DELETE", path, admin, nil).want(t, 204, "")
	r.do("GET", "/auth/sessions", tablet, nil).want(t, 401, "token_invalid")
	r.do("POST", "/auth/refresh", "", object{"refresh_token": tablets}).want(t, 401, "refresh_token_invalid")
	r.login("anna", goodPassword)
	if a := r.do("GET", fmt.Sprintf("/auth/log?subject=user/%d", id), admin, nil).want(t, 200, ""); !strings.Contains(a.text, `"user.end_sessions"`) {
		t.Errorf("the admins' log: %s", a.text)
	}
}

// withoutSession returns an access token as v0.6.0 issued them: it names no session.
func (w *world) withoutSession(userID, version int64) string {
	w.t.Helper()
	ring, err := keys.Open(w.keys, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := keys.NewIssuer(ring, "lavka", "lavka", time.Minute, time.Now).AccessToken(auth.LoggedIn{User: auth.User{ID: userID, Role: auth.RoleUser, TokenVersion: version}})
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}
