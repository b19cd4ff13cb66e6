package main

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"lavka/libs/contract/wire"
	"lavka/libs/testkit/waittest"
)

func TestRegister(t *testing.T) {
	t.Parallel()
	r := newWorld(t).start()
	r.register("Anna.K")
	for name, c := range map[string]struct {
		body   any
		status int
		code   string
		field  string
	}{
		"taken":              {object{"login": "anna.K", "password": goodPassword}, 409, "login_taken", ""},
		"the admin's":        {object{"login": "BOSS", "password": goodPassword}, 409, "login_taken", ""},
		"short login":        {object{"login": "an", "password": goodPassword}, 422, "validation_failed", "login"},
		"long login":         {object{"login": strings.Repeat("a", 65), "password": goodPassword}, 422, "validation_failed", "login"},
		"login of others":    {object{"login": "анна", "password": goodPassword}, 422, "validation_failed", "login"},
		"login with a space": {object{"login": "anna k", "password": goodPassword}, 422, "validation_failed", "login"},
		"short password":     {object{"login": "bert", "password": "x7!kQ2z"}, 422, "validation_failed", "password"},
		"long password":      {object{"login": "bert", "password": strings.Repeat("x7!kQ2z-", 33)}, 422, "validation_failed", "password"},
		"weak password":      {object{"login": "bert", "password": "password123"}, 422, "validation_failed", "password"},
		"own login":          {object{"login": "bert.the.great", "password": "bert.the.great"}, 422, "validation_failed", "password"},
		"no password":        {object{"login": "bert"}, 422, "validation_failed", "password"},
		"null login":         {object{"login": nil, "password": goodPassword}, 400, "malformed", ""},
		"empty":              {object{}, 422, "validation_failed", "login"},
		"null":               {"null", 400, "malformed", ""},
		"number":             {object{"login": 7, "password": goodPassword}, 400, "malformed", ""},
		"array":              {"[]", 400, "malformed", ""},
		"unknown member":     {object{"login": "bert", "password": goodPassword, "role": "admin"}, 400, "malformed", ""},
		"twice":              {`{"login":"bert","login":"bert","password":"violet tram 77 lamps"}`, 400, "malformed", ""},
		"other case":         {`{"Login":"bert","password":"violet tram 77 lamps"}`, 400, "malformed", ""},
		"trailing":           {`{"login":"bert","password":"violet tram 77 lamps"}{}`, 400, "malformed", ""},
		"zero":               {`{"login":"bert","password":"violet tram\u0000 77 lamps"}`, 400, "malformed", ""},
		"no UTF-8":           {"{\"login\":\"bert\",\"password\":\"violet tram\xff 77 lamps\"}", 400, "malformed", ""},
		"large":              {`{"login":"bert","password":"` + strings.Repeat("x", 64<<10) + `"}`, 413, "body_too_large", ""},
	} {
		a := r.do("POST", "/auth/register", "", c.body)
		if a.status != c.status || a.code() != c.code {
			t.Errorf("%s: %d %q, want %d %q: %s", name, a.status, a.code(), c.status, c.code, a.text)
		}
		if c.field != "" && !strings.Contains(a.text, `"field":"`+c.field+`"`) {
			t.Errorf("%s: no error for %s: %s", name, c.field, a.text)
		}
	}
}

func TestOneLoginManyAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	replicas := []*replica{w.start(), w.start()}
	var all sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	for i := range 50 {
		all.Go(func() {
			login := []string{"anna", "Anna", "ANNA"}[i%3]
			a, err := replicas[i%2].try("POST", "/auth/register", "", object{"login": login, "password": goodPassword})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			got[fmt.Sprint(a.status, " ", a.code())]++
		})
	}
	all.Wait()
	if got["201 "] != 1 || got["409 login_taken"] != 49 {
		t.Errorf("%v", got)
	}
	if n := w.count(`auth.users WHERE lower(login) = 'anna'`); n != 1 {
		t.Errorf("%d users", n)
	}
}

func TestActivation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	admin := r.admin()
	path := func(id int64) string { return fmt.Sprintf("/users/%d", id) }

	for _, token := range []string{"x", strings.Repeat("A", 43), strings.Repeat("A", 400), "%27", "%00"} {
		a := r.do("GET", "/auth/activate/"+token, "", nil)
		if token == "%00" {
			a.want(t, 400, "malformed")
			continue
		}
		a.want(t, 404, "activation_not_found")
	}

	// An expired link and its replacement.
	link, id := r.register("anna")
	w.exec(`UPDATE auth.activations SET expires_at = now() WHERE user_id = $1`, id)
	r.do("GET", link, "", nil).want(t, 410, "activation_expired")
	r.do("POST", "/auth/activation", "", object{"login": "anna", "password": "wrong"}).want(t, 401, "invalid_credentials")
	r.do("POST", "/auth/activation", "", object{"login": "nobody", "password": goodPassword}).want(t, 401, "invalid_credentials")
	r.do("POST", "/auth/activation", "", object{"login": "anna"}).want(t, 422, "validation_failed")
	a := r.do("POST", "/auth/activation", "", object{"login": "Anna", "password": goodPassword}).want(t, 201, "")
	second := strings.TrimPrefix(a.str("activation_link"), "https://shop.example")
	r.do("GET", second, "", nil).want(t, 200, "")
	r.do("GET", link, "", nil).want(t, 410, "activation_expired")
	w.exec(`UPDATE auth.activations SET expires_at = now() - interval '1 year' WHERE user_id = $1`, id)
	r.do("GET", second, "", nil).want(t, 200, "")
	r.do("POST", "/auth/activation", "", object{"login": "anna", "password": goodPassword}).want(t, 409, "already_active")
	if n := w.count(`auth.users WHERE id = $1 AND version = 2`, id); n != 1 {
		t.Error("following a link again changed the user")
	}

	// The link of a disabled user, after and before it was followed.
	r.do("PATCH", path(id), admin, object{"enabled": false}).want(t, 200, "")
	r.do("GET", second, "", nil).want(t, 403, "user_disabled")
	link, id = r.register("bert")
	r.do("PATCH", path(id), admin, object{"enabled": false}).want(t, 200, "")
	r.do("GET", link, "", nil).want(t, 403, "user_disabled")
	r.do("POST", "/auth/activation", "", object{"login": "bert", "password": goodPassword}).want(t, 403, "user_disabled")
	if u := r.do("PATCH", path(id), admin, object{"enabled": true}).want(t, 200, ""); u.str("status") != "inactive" {
		t.Errorf("enabling activated the user: %s", u.text)
	}

	// HEAD looks at the link and activates no one; POST takes its token.
	r.do("HEAD", link, "", nil).want(t, 200, "")
	if n := w.count(`auth.users WHERE id = $1 AND activated_at IS NULL`, id); n != 1 {
		t.Error("HEAD activated the user")
	}
	r.do("HEAD", "/auth/activate/x", "", nil).want(t, 404, "")
	follow := func(token string) answer { return r.do("POST", "/auth/activate", "", object{"token": token}) }
	follow("").want(t, 422, "validation_failed")
	follow("x").want(t, 404, "activation_not_found")
	for range 2 {
		if a := follow(strings.TrimPrefix(link, "/auth/activate/")).want(t, 200, ""); a.body["user"].(object)["status"] != "active" {
			t.Errorf("activated user: %s", a.text)
		}
	}
	r.login("bert", goodPassword)

	// A link that is followed many times at once activates once.
	link, id = r.register("carl")
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if a, err := r.patient("GET", link, "", nil); err != nil || a.status != 200 {
				t.Errorf("%v %v", a, err)
			}
		})
	}
	all.Wait()
	if n := w.count(`auth.users WHERE id = $1 AND version = 2`, id); n != 1 {
		t.Error("the user was activated more than once")
	}
}

func TestDisableAndEnable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := w.start(), w.start()
	admin := first.admin()
	access, refresh, id := first.user("anna")
	path := fmt.Sprintf("/users/%d", id)
	second.do("GET", "/users/me", access, nil).want(t, 200, "")

	if a := first.do("PATCH", path, admin, object{"enabled": true}).want(t, 200, ""); a.str("status") != "active" {
		t.Errorf("%s", a.text)
	}
	version := w.published(id, func(u wire.UserChanged) bool { return u.Status == "active" }).Version
	if a := first.do("PATCH", path, admin, object{"enabled": false}).want(t, 200, ""); a.str("status") != "disabled" {
		t.Errorf("%s", a.text)
	}
	for _, r := range []*replica{first, second} {
		waittest.Eventually(t, "revoked on every replica", func() bool { return r.do("GET", "/users/me", access, nil).code() == "token_invalid" })
	}
	published := w.published(id, func(u wire.UserChanged) bool { return u.Status == "disabled" })
	if published.Version != version+1 || published.TokenVersion != 2 {
		t.Errorf("published %+v; a patch that changes nothing must not create a version", published)
	}
	first.do("POST", "/auth/refresh", "", object{"refresh_token": refresh}).want(t, 401, "refresh_token_invalid")
	first.do("POST", "/auth/login", "", object{"login": "anna", "password": goodPassword}).want(t, 403, "user_disabled")
	first.do("POST", "/auth/login", "", object{"login": "anna", "password": "wrong"}).want(t, 401, "invalid_credentials")
	first.do("PATCH", path, admin, object{"enabled": false}).want(t, 200, "")

	first.do("PATCH", path, admin, object{"enabled": true}).want(t, 200, "")
	first.do("POST", "/auth/refresh", "", object{"refresh_token": refresh}).want(t, 401, "refresh_token_invalid")
	second.do("GET", "/users/me", access, nil).want(t, 401, "token_invalid")
	access, _ = second.login("anna", goodPassword)
	first.do("GET", "/users/me", access, nil).want(t, 200, "")

	for name, c := range map[string]struct {
		path   string
		body   any
		status int
		code   string
	}{
		"missing":   {path, object{}, 422, "validation_failed"},
		"null":      {path, object{"enabled": nil}, 400, "malformed"},
		"text":      {path, object{"enabled": "false"}, 400, "malformed"},
		"more":      {path, object{"enabled": false, "role": "admin"}, 400, "malformed"},
		"self":      {"/users/1", object{"enabled": false}, 409, "cannot_disable_self"},
		"unknown":   {"/users/999", object{"enabled": false}, 404, "user_not_found"},
		"zero":      {"/users/0", object{"enabled": false}, 404, "user_not_found"},
		"no number": {"/users/x", object{"enabled": false}, 400, "malformed"},
		"too large": {"/users/9223372036854775808", object{"enabled": false}, 400, "malformed"},
	} {
		if a := first.do("PATCH", c.path, admin, c.body); a.status != c.status || a.code() != c.code {
			t.Errorf("%s: %s", name, a.text)
		}
	}
}

// auth decides by its own row, without waiting for NATS: once a change has been
// answered, the tokens that it revoked are refused by every replica.
// Admins and support see what admins changed.
func TestAdminsLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	boss := r.admin()
	anna, _, id := r.user("anna")
	r.do("PATCH", fmt.Sprint("/users/", id), boss, object{"enabled": false}).want(t, 200, "")
	r.do("PATCH", fmt.Sprint("/users/", id), boss, object{"enabled": true}).want(t, 200, "")
	path, cursor := fmt.Sprint("/auth/log?limit=1&subject=user/", id), ""
	for _, action := range []string{"user.enable", "user.disable"} {
		a := r.do("GET", path+cursor, boss, nil).want(t, 200, "")
		entry := a.body["items"].([]any)[0].(object)
		if entry["action"] != action || entry["trace_id"] == nil || entry["actor_id"] == nil {
			t.Errorf("%v, want %s", entry, action)
		}
		cursor = "&cursor=" + a.str("next_cursor")
	}
	if cursor != "&cursor=" {
		t.Error("there is a third page")
	}
	r.do("GET", "/auth/log?subject=", boss, nil).want(t, 422, "validation_failed")
	r.do("GET", "/auth/log?subject="+strings.Repeat("x", 65), boss, nil).want(t, 422, "validation_failed")
	r.do("GET", "/auth/log?cursor=x", boss, nil).want(t, 400, "malformed")
	waittest.Eventually(t, "anna's token is revoked", func() bool { return r.do("GET", "/auth/log", anna, nil).status == 401 })
}

func TestDecidesByTheRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := w.start(), w.start()
	admin := first.admin()
	access, refresh, id := first.user("anna")
	w.nats.Stop()
	first.do("PATCH", fmt.Sprintf("/users/%d", id), admin, object{"enabled": false}).want(t, 200, "")
	for _, r := range []*replica{first, second} {
		r.do("POST", "/auth/password", access, object{"old_password": goodPassword, "new_password": otherPassword}).want(t, 401, "token_invalid")
		r.do("POST", "/auth/logout", access, object{"refresh_token": refresh}).want(t, 401, "token_invalid")
		r.do("GET", "/users/me", access, nil).want(t, 401, "token_invalid")
	}
	first.do("POST", "/auth/password", admin, object{"old_password": adminPassword, "new_password": otherPassword}).want(t, 204, "")
	for _, r := range []*replica{first, second} {
		r.do("GET", "/users", admin, nil).want(t, 401, "token_invalid")
		r.do("GET", "/users/1", admin, nil).want(t, 401, "token_invalid")
		r.do("PATCH", fmt.Sprintf("/users/%d", id), admin, object{"enabled": true}).want(t, 401, "token_invalid")
	}
	first.do("POST", "/auth/login", "", object{"login": "anna", "password": otherPassword}).want(t, 401, "invalid_credentials")
}

// A token that is not revoked yet does not allow a former admin to disable others.
func TestADisabledAdminCannotDisableUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	admin := r.admin()
	_, id := r.register("anna")
	w.exec(`UPDATE auth.users SET disabled_at = now() WHERE login = $1`, adminLogin)
	r.do("PATCH", fmt.Sprintf("/users/%d", id), admin, object{"enabled": false}).want(t, 401, "token_invalid")
}

func TestListUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	admin := r.admin()
	w.exec(`INSERT INTO auth.users (login, password_hash, role, activated_at, disabled_at)
		SELECT 'user' || i, 'x', 'user', CASE WHEN i % 2 = 0 THEN now() END, CASE WHEN i % 5 = 0 THEN now() END FROM generate_series(1, 25) i`)
	w.exec(`INSERT INTO auth.users (login, password_hash, role) VALUES ('Under_Score', 'x', 'user'), ('underXscore', 'x', 'user')`)

	// Read in small pages while users are added.
	var seen []float64
	for cursor, n := "", 0; ; n++ {
		a := r.do("GET", "/users?limit=4&cursor="+cursor, admin, nil).want(t, 200, "")
		for _, item := range a.body["items"].([]any) {
			seen = append(seen, item.(object)["id"].(float64))
		}
		w.exec(`INSERT INTO auth.users (login, password_hash, role) VALUES ($1, 'x', 'user')`, fmt.Sprintf("late%d", n))
		if cursor = a.str("next_cursor"); cursor == "" {
			break
		}
	}
	for i, id := range seen {
		if id != float64(28-i) {
			t.Fatalf("not each user once, newest first: %v", seen)
		}
	}
	if len(seen) != 28 {
		t.Errorf("%d users seen: %v", len(seen), seen)
	}

	for query, want := range map[string]int{
		"status=disabled&limit=100": 5, "status=active&limit=100": 10 + 1, "status=inactive&login=user&limit=100": 10,
		"login=USER1&limit=100": 11, "login=r_s": 1, "login=R_S": 1, "login=%25": 0, "login=%5C": 0, "login=boss": 1, "login=": 20,
		"status=disabled&login=user2": 2, "login=nobody": 0,
	} {
		if a := r.do("GET", "/users?"+query, admin, nil).want(t, 200, ""); len(a.body["items"].([]any)) != want {
			t.Errorf("%s: %d users, want %d: %s", query, len(a.body["items"].([]any)), want, a.text)
		}
	}
	for query, code := range map[string]string{
		"status=gone": "validation_failed", "status=": "validation_failed", "limit=0": "validation_failed", "limit=101": "validation_failed", "limit=x": "malformed",
		"cursor=x": "malformed", "cursor=" + url.QueryEscape(`{"l":"users"}`): "malformed", "login=" + strings.Repeat("a", 65): "validation_failed", "login=%00": "malformed", "login=%ff": "malformed",
	} {
		if a := r.do("GET", "/users?"+query, admin, nil); a.code() != code {
			t.Errorf("%s: %s", query, a.text)
		}
	}
	if a := r.do("GET", "/users/1", admin, nil).want(t, 200, ""); a.str("role") != "admin" || a.str("login") != adminLogin {
		t.Errorf("%s", a.text)
	}
	r.do("GET", "/users/999", admin, nil).want(t, 404, "user_not_found")
}
