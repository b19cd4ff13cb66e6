package access_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/contract/streams"
	"lavka/libs/contract/wire"
	"lavka/libs/service/access"
	"lavka/libs/service/httpserver"
	"lavka/libs/service/natsconn"
	"lavka/libs/service/revocation"
	"lavka/libs/service/token"
	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/waittest"
)

const contract = `
openapi: 3.1.0
info: {title: test, version: "1"}
components: {securitySchemes: {bearer: {type: http, scheme: bearer}}}
paths:
  /open: {get: {operationId: open, responses: {default: {description: x}}}}
  /mine: {get: {operationId: mine, security: [{bearer: [user]}], responses: {default: {description: x}}}}
  /theirs: {get: {operationId: theirs, security: [{bearer: [support]}], responses: {default: {description: x}}}}
  /ours: {get: {operationId: ours, security: [{bearer: [admin]}], responses: {default: {description: x}}}}
`

// oneKey is a set of one key, which may not have been read yet.
type oneKey struct {
	private ed25519.PrivateKey
	ready   bool
}

func (k *oneKey) Ready() bool { return k.ready }
func (k *oneKey) Keyfunc(context.Context) jwt.Keyfunc {
	return func(*jwt.Token) (any, error) { return k.private.Public(), nil }
}

func (k *oneKey) token(t *testing.T, userID, role string, version int64) string {
	t.Helper()
	tok := jwt.NewWithClaims(jwt.SigningMethodEdDSA, token.Claims{
		RegisteredClaims: jwt.RegisteredClaims{Issuer: "lavka", Audience: jwt.ClaimStrings{"lavka"}, Subject: userID, ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Minute))},
		Role:             role, Version: version,
	})
	tok.Header["typ"], tok.Header["kid"] = token.Type, "main"
	text, err := tok.SignedString(k.private)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestGuard(t *testing.T) {
	t.Parallel()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := &oneKey{private: private}
	nc, err := natsconn.Connect(natstest.Start(t).URL, "test", slog.New(slog.DiscardHandler), func() {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	nothing := func(context.Context, func(int64, int64)) error { return nil }
	versions := revocation.New(js, nothing, 10*time.Minute, slog.New(slog.DiscardHandler), time.Now)
	verifier, err := token.NewVerifier(keys, "lavka", "lavka", time.Hour, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	e, protected, err := httpserver.NewAPI(api(contract, access.NewGuard(verifier, versions)))
	if err != nil {
		t.Fatal(err)
	}
	if len(protected) != 3 || protected["open"] != nil {
		t.Errorf("%d operations are protected", len(protected))
	}
	whoami := func(c echo.Context) error {
		return c.JSON(http.StatusOK, access.From(c.Request().Context()).UserID)
	}
	e.GET("/open", func(c echo.Context) error {
		if _, ok := access.Lookup(c.Request().Context()); ok {
			t.Error("an open route knows the caller")
		}
		return c.NoContent(http.StatusNoContent)
	})
	e.GET("/mine", whoami, protected["mine"]...)
	e.GET("/theirs", whoami, protected["theirs"]...)
	e.GET("/ours", whoami, protected["ours"]...)
	check := func(what, path string, headers []string, status int, code string) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequest("GET", path, nil)
		r.Header["Authorization"] = headers
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		if w.Code != status || !strings.Contains(w.Body.String(), code) {
			t.Errorf("%s: %d %s, want %d %s", what, w.Code, w.Body, status, code)
		}
		if challenge := w.Header().Get("WWW-Authenticate"); (challenge != "") != (status == 401) || strings.Contains(challenge, "invalid_token") != (code == `"token_invalid"`) {
			t.Errorf("%s: WWW-Authenticate: %q", what, challenge)
		}
		return w
	}
	bearer := func(userID, role string, version int64) []string {
		return []string{"Bearer " + keys.token(t, userID, role, version)}
	}
	user := bearer("7", "user", 1)

	// Until keys and versions have been read, no client is told that its token is invalid.
	check("no keys", "/mine", user, 503, `"starting"`)
	keys.ready = true
	if w := check("no versions", "/mine", user, 503, `"starting"`); w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	check("no versions, no token", "/mine", nil, 503, `"starting"`)
	check("open", "/open", user, 204, "")
	listen(t, js, versions)

	check("a user", "/mine", user, 200, "7")
	for role, may := range map[string][]string{
		"user": {"/mine"}, "king of a later release": {"/mine"}, "support": {"/mine", "/theirs"}, "admin": {"/mine", "/theirs", "/ours"},
	} {
		for _, path := range []string{"/mine", "/theirs", "/ours"} {
			if slices.Contains(may, path) {
				check(role, path, bearer("8", role, 1), 200, "8")
			} else {
				check(role, path, bearer("8", role, 1), 403, `"forbidden"`)
			}
		}
	}
	check("small letters", "/mine", []string{"bearer " + keys.token(t, "7", "user", 1)}, 200, "7")
	for name, headers := range map[string][]string{
		"none": nil, "empty": {""}, "basic": {"Basic x"}, "no token": {"Bearer"}, "an empty token": {"Bearer "}, "two": {user[0], user[0]},
	} {
		check(name, "/mine", headers, 401, `"unauthenticated"`)
	}
	check("garbage", "/mine", []string{"Bearer x"}, 401, `"token_invalid"`)
	check("two spaces", "/mine", []string{"Bearer  " + keys.token(t, "7", "user", 1)}, 401, `"token_invalid"`)

	// Only a token that was checked is known before the check.
	guard := access.NewGuard(verifier, versions)
	for _, headers := range [][]string{user, bearer("70", "user", 1), {"Bearer x"}, {"Bearer " + strings.Repeat("x", token.MaxLength+1)}, nil} {
		want := int64(0)
		if slices.Equal(headers, user) {
			want = 7
		}
		r := httptest.NewRequest("GET", "/mine", nil)
		r.Header["Authorization"] = headers
		if got := guard.Known(r); got != want {
			t.Errorf("%.30q is known as user %d, want %d", headers, got, want)
		}
	}

	data, err := wire.Encode(wire.UserChanged{V: wire.Version, ID: 7, Login: "anna", Role: "user", Status: "active", Version: 2, TokenVersion: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), wire.SubjectChanged+".7", data); err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "the token is revoked", func() bool { return versions.Revoked(7, 1) })
	check("revoked", "/mine", user, 401, `"token_invalid"`)
	check("revoked where an admin is needed", "/ours", user, 401, `"token_invalid"`)
	check("the next token", "/mine", bearer("7", "user", 2), 200, "7")
	check("another user", "/mine", bearer("8", "user", 1), 200, "8")
}

func listen(t *testing.T, js jetstream.JetStream, versions *revocation.Versions) {
	t.Helper()
	if _, err := js.CreateStream(t.Context(), streams.Users(1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { versions.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	<-versions.Loaded()
}

func api(contract string, guard *access.Guard) httpserver.API {
	return httpserver.API{Service: "test", Contract: []byte(contract), Guard: guard, Registry: httpserver.NewRegistry(), Log: slog.New(slog.DiscardHandler)}
}

// A misspelt role in a contract must stop the service, not open a route.
func TestContractOfUnknownRoles(t *testing.T) {
	t.Parallel()
	for _, scopes := range []string{"[king]", "[]", "[user, admin]"} {
		_, _, err := httpserver.NewAPI(api(strings.Replace(contract, "[admin]", scopes, 1), access.NewGuard(nil, nil)))
		if err == nil || !strings.Contains(err.Error(), "with one of the roles [user support admin]") {
			t.Errorf("scopes %s: %v", scopes, err)
		}
	}
}

// Nor may a security scheme that nothing checks.
func TestContractOfUnknownSchemes(t *testing.T) {
	t.Parallel()
	const other = `{operationId: ours, security: [{peer: []}],`
	with := strings.Replace(contract, `{operationId: ours, security: [{bearer: [admin]}],`, other, 1)
	guarded := api(with, access.NewGuard(nil, nil))
	if _, _, err := httpserver.NewAPI(guarded); err == nil || !strings.Contains(err.Error(), "peer is unknown") {
		t.Errorf("an unknown scheme: %v", err)
	}
	if _, _, err := httpserver.NewAPI(api(strings.Replace(with, "{peer: []}", "{}", 1), access.NewGuard(nil, nil))); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("an empty requirement: %v", err)
	}
	guarded.Registry = httpserver.NewRegistry()
	guarded.Schemes = map[string]echo.MiddlewareFunc{"peer": access.Static("peer", []string{"token of the peer", "another"})}
	e, protected, err := httpserver.NewAPI(guarded)
	if err != nil {
		t.Fatal(err)
	}
	e.GET("/ours", func(c echo.Context) error { return c.String(http.StatusOK, access.From(c.Request().Context()).Role) }, protected["ours"]...)
	for header, want := range map[string]string{
		"Bearer token of the peer": "peer", "bearer another": "peer", "Bearer ": `"unauthenticated"`, "Basic another": `"unauthenticated"`, "Bearer token of the pee": `"token_invalid"`, "Bearer token of the peer2": `"token_invalid"`,
	} {
		r := httptest.NewRequest("GET", "/ours", nil)
		r.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		if (w.Code == 200) != (want == "peer") || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q: %d %s", header, w.Code, w.Body)
		}
	}
}

// An operation that is open says nothing about the others of its path, in whatever order
// they are read.
func TestEachOperationIsLookedAt(t *testing.T) {
	t.Parallel()
	text := strings.Split(contract, "paths:")[0] + "paths:\n"
	guard := access.NewGuard(nil, nil)
	mixed, err := openapi3.NewLoader().LoadFromData([]byte(text + `  /mixed: {get: {operationId: a, security: [{bearer: [user]}]}, post: {operationId: b, security: [{peer: []}]}, put: {operationId: c, security: [{bearer: [user]}]}, delete: {operationId: d, security: [{peer: []}]}, patch: {operationId: e, security: [{bearer: [user]}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // operations are in a map
		if protected, err := guard.Protect(mixed); err != nil || len(protected) != 3 {
			t.Errorf("beside operations of another scheme, %d operations are protected, want 3: %v", len(protected), err)
		}
	}
	const paths = 20
	for i := range paths {
		text += fmt.Sprintf("  /%d: {get: {operationId: open%[1]d, responses: {default: {description: x}}}, post: {operationId: mine%[1]d, security: [{bearer: [user]}], responses: {default: {description: x}}}}\n", i)
	}
	_, protected, err := httpserver.NewAPI(api(text, access.NewGuard(nil, nil)))
	if err != nil || len(protected) != paths {
		t.Errorf("%d operations are protected, want %d: %v", len(protected), paths, err)
	}
}
