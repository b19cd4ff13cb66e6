package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lavka/libs/service/token"
	"lavka/libs/testkit/waittest"
)

// Requests every route without a token, as a user, as an admin, and with bad tokens.
func TestRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	admin := r.admin()
	user, _, _ := r.user("anna")
	expired := w.start(func(c *Config) { c.TokenLifetime = time.Second })
	short, _ := expired.login("anna", goodPassword)
	forged := user[:len(user)-4] + "AAAA"
	unsigned := unsign(t, user)

	routes := map[string]string{
		"GET /users/me": "user", "POST /auth/logout": "user", "POST /auth/password": "user",
		"GET /users": "admin", "GET /users/2": "admin", "PATCH /users/2": "admin",
		"POST /auth/register": "", "POST /auth/login": "", "POST /auth/refresh": "", "POST /auth/activation": "",
		"GET /.well-known/jwks.json": "", "GET /auth/openapi.json": "", "GET /auth/activate/x": "", "POST /auth/activate": "",
	}
	waittest.Eventually(t, "the short token has expired", func() bool { return r.do("GET", "/users/me", short, nil).status == 401 })
	for route, role := range routes {
		method, path, _ := strings.Cut(route, " ")
		var body any
		if method != "GET" {
			body = object{"unknown member": true} // refused, but only after the token is checked
		}
		got := func(token string) string { return r.do(method, path, token, body).code() }
		if role == "" {
			for _, token := range []string{"", "x", admin, forged} {
				if code := got(token); strings.HasPrefix(code, "token") || code == "unauthenticated" || code == "forbidden" {
					t.Errorf("%s with token %q: %s", route, token, code)
				}
			}
			continue
		}
		if code := got(""); code != "unauthenticated" {
			t.Errorf("%s without a token: %s", route, code)
		}
		for name, token := range map[string]string{"garbage": "x", "forged": forged, "alg none": unsigned, "expired": short} {
			if code := got(token); code != "token_invalid" {
				t.Errorf("%s, %s: %s", route, name, code)
			}
		}
		if code := got(user); (code == "forbidden") != (role == "admin") || code == "token_invalid" {
			t.Errorf("%s as a user: %s", route, code)
		}
		if code := got(admin); code == "forbidden" || code == "token_invalid" {
			t.Errorf("%s as an admin: %s", route, code)
		}
	}
	if a := r.do("GET", "/users/me", "", nil); a.header.Get("WWW-Authenticate") == "" {
		t.Error("no WWW-Authenticate")
	}
}

func TestAccessTokenSaysWhatItShould(t *testing.T) {
	t.Parallel()
	r := newWorld(t).start()
	access, _, _ := r.user("anna")
	var claims token.Claims
	parsed, _, err := jwt.NewParser().ParseUnverified(access, &claims)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Header["typ"] != "at+jwt" || parsed.Header["alg"] != "EdDSA" || claims.Issuer != "lavka" || claims.Audience[0] != "lavka" ||
		claims.Subject != "2" || claims.Role != "user" || claims.Version != 1 || claims.ID == "" || claims.ExpiresAt.Sub(claims.IssuedAt.Time) != 10*time.Minute {
		t.Errorf("%v %+v", parsed.Header, claims)
	}
}

func TestUnknownRoutesAndTypes(t *testing.T) {
	t.Parallel()
	r := newWorld(t).start()
	r.admin()
	r.do("GET", "/auth/nothing", "", nil).want(t, 404, "not_found")
	if a := r.do("GET", "/auth/login", "", nil).want(t, 405, "method_not_allowed"); !strings.Contains(a.header.Get("Allow"), "POST") {
		t.Errorf("Allow: %q", a.header.Get("Allow"))
	}
	resp, err := http.Post(r.url+"/auth/login", "text/plain", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 415 {
		t.Errorf("%s", resp.Status)
	}
	if a := r.do("GET", "/auth/openapi.json", "", nil).want(t, 200, ""); a.str("openapi") != "3.1.0" {
		t.Errorf("%.100s", a.text)
	}
	waittest.Eventually(t, "the metric nats_connected is 1", func() bool { return strings.Contains(r.metrics(), "\nnats_connected 1\n") })
	for _, name := range []string{"auth_hash_queue 0", "auth_users_due ", `auth_logins_total{outcome="`} {
		if !strings.Contains(r.metrics(), "\n"+name) {
			t.Errorf("no metric %s", name)
		}
	}
}

func (r *replica) metrics() string {
	r.t.Helper()
	resp, err := http.Get(r.internal + "/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		r.t.Fatalf("metrics: %s %v", resp.Status, err)
	}
	return string(text)
}

// unsign returns the token with alg none and no signature.
func unsign(t *testing.T, signed string) string {
	t.Helper()
	parsed, _, err := jwt.NewParser().ParseUnverified(signed, jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	parsed.Method = jwt.SigningMethodNone
	parsed.Header["alg"] = "none"
	text, err := parsed.SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
