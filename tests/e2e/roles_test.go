package e2e

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lavka/deploy/local/stack"
	"lavka/tests/contract"
)

// Every operation of every contract is called with every kind of token. Empty bodies
// and unknown ids keep the permitted calls from changing anything.
func TestPermissions(t *testing.T) {
	t.Parallel()
	u, disabled := shop.newUser(t), shop.newUser(t)
	shop.disable(t, disabled)
	support := shop.newSupport(t)
	inactive := shop.register(t)
	inactive.want(t, 403, "user_inactive", "POST", "/auth/login", map[string]any{"login": inactive.login, "password": inactive.password})
	forge := newForger(t, u)
	_, stolen, err := ed25519.GenerateKey(nil)
	must(t, err)
	publicAsSecret := []byte(forge.key.Public().(ed25519.PublicKey))

	bad := map[string]string{
		"disabled":              disabled.token,
		"expired":               forge.token(t, func(c jwt.MapClaims, _ map[string]any) { c["exp"] = time.Now().Add(-time.Minute).Unix() }),
		"without expiry":        forge.token(t, func(c jwt.MapClaims, _ map[string]any) { delete(c, "exp") }),
		"another issuer":        forge.token(t, func(c jwt.MapClaims, _ map[string]any) { c["iss"] = "evil" }),
		"another audience":      forge.token(t, func(c jwt.MapClaims, _ map[string]any) { c["aud"] = "another-shop" }),
		"no kid":                forge.token(t, func(_ jwt.MapClaims, h map[string]any) { delete(h, "kid") }),
		"wrong kid":             forge.token(t, func(_ jwt.MapClaims, h map[string]any) { h["kid"] = "nobody's" }),
		"another type":          forge.token(t, func(_ jwt.MapClaims, h map[string]any) { h["typ"] = "JWT" }),
		"no version":            forge.token(t, func(c jwt.MapClaims, _ map[string]any) { delete(c, "ver") }),
		"forged with a key":     forge.signed(t, jwt.SigningMethodEdDSA, stolen),
		"alg none":              forge.signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType),
		"HMAC with public key":  forge.signed(t, jwt.SigningMethodHS256, publicAsSecret),
		"role raised by hand":   tamper(t, u.token),
		"signature cut off":     u.token[:strings.LastIndex(u.token, ".")+1],
		"not a token":           "x",
		"a refresh token":       u.refresh,
		"longer than any token": strings.Repeat("a", 8000),
	}
	if a := (&client{base: shop.GatewayURL(), token: forge.token(t, func(jwt.MapClaims, map[string]any) {})}).call(t, "GET", "/users/me", nil); a.status != 200 {
		t.Fatalf("a valid token was refused, so this test proves nothing: %s", a)
	}
	callers := map[string]struct {
		token string
		may   []string // call operations that require these roles
	}{
		"a user":                    {u.token, []string{"", "user"}},
		"a user of a later release": {forge.token(t, func(c jwt.MapClaims, _ map[string]any) { c["role"] = "root" }), []string{"", "user"}},
		"support":                   {support.token, []string{"", "user", "support"}},
		"an admin":                  {shop.adminToken(t), []string{"", "user", "support", "admin"}},
	}
	for _, op := range checker.Operations() {
		name := op.Method + " " + op.Path
		for who, token := range bad {
			if a := ask(t, op, token); op.Role != "" && (a.status != 401 || a.code() != "token_invalid" || !strings.Contains(a.header.Get("WWW-Authenticate"), "invalid_token")) {
				t.Errorf("%s with a token that is %s: %s, want 401", name, who, a)
			}
		}
		anonymous := ask(t, op, "")
		if op.Role != "" && (anonymous.status != 401 || anonymous.code() != "unauthenticated" || anonymous.header.Get("WWW-Authenticate") == "") {
			t.Errorf("%s without a token: %s, want 401", name, anonymous)
		}
		if op.Role == "" && (anonymous.code() == "unauthenticated" || anonymous.code() == "forbidden") {
			t.Errorf("%s needs no token, but without one the answer is %s", name, anonymous)
		}
		if op.Role == "provider" { // whose tokens no user has
			for who, token := range map[string]string{"a user": u.token, "an admin": shop.adminToken(t)} {
				if a := ask(t, op, token); a.status != 401 || a.code() != "token_invalid" {
					t.Errorf("%s as %s: %s, want 401", name, who, a)
				}
			}
			if a := ask(t, op, shop.PaymentReadTokens[0]); a.status == 401 || a.status == 404 {
				t.Errorf("%s as the provider: %s", name, a)
			}
			continue
		}
		if a := ask(t, op, shop.PaymentReadTokens[0]); op.Role != "" && (a.status != 401 || a.code() != "token_invalid") {
			t.Errorf("%s as the provider: %s, want 401", name, a)
		}
		for who, caller := range callers {
			may := slices.Contains(caller.may, op.Role)
			if a := ask(t, op, caller.token); (a.code() == "forbidden") == may || (op.Role != "" && a.status == 401) {
				t.Errorf("%s as %s: %s, but it requires role %q", name, who, a, op.Role)
			}
		}
	}
}

// ask calls an operation in a way that changes nothing.
func ask(t *testing.T, op contract.Operation, token string) answer {
	t.Helper()
	path := strings.NewReplacer("{id}", "999999999999", "{user_id}", "999999999999", "{token}", "nobodys", "{transaction_id}", "999999999999", "{sku}", "nobodys").Replace(op.Path)
	if rest, found := strings.CutPrefix(op.Path, "/purchases/{id}"); found {
		path = "/purchases/01976b1e-0000-7000-8000-000000000001" + rest
	}
	var body any
	if op.Method == "POST" || op.Method == "PATCH" || op.Method == "PUT" {
		body = map[string]any{}
	}
	return (&client{base: shop.GatewayURL(), token: token}).call(t, op.Method, path, body)
}

// The contracts state the role that each operation needs; this table states the design's by hand.
func TestTheContractsSayWhatTheDesignDoes(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"POST /auth/register": "", "GET /auth/activate/{token}": "", "POST /auth/activate": "", "POST /auth/activation": "", "POST /auth/login": "", "POST /auth/refresh": "",
		"POST /auth/logout": "user", "GET /auth/sessions": "user", "DELETE /auth/sessions": "user", "DELETE /auth/sessions/{id}": "user", "DELETE /users/{id}/sessions": "admin", "POST /auth/password-reset": "", "POST /auth/password-reset/confirm": "", "POST /users/{id}/password-reset": "admin", "POST /auth/password": "user", "GET /.well-known/jwks.json": "", "GET /users/me": "user",
		"GET /auth/log": "support", "GET /catalog/log": "support", "GET /users": "support", "GET /users/{id}": "support", "PATCH /users/{id}": "admin",
		"GET /products": "user", "GET /products/{id}": "user", "GET /products/by-sku/{sku}": "user", "PUT /products/by-sku/{sku}": "admin", "POST /products/batch": "admin", "POST /products": "admin", "PATCH /products/{id}": "admin", "DELETE /products/{id}": "admin",
		"GET /products/{id}/stock": "support", "POST /products/{id}/stock": "admin", "DELETE /products/{id}/stock": "admin",
		"POST /purchases": "user", "GET /purchases": "user", "GET /purchases/{id}": "user", "GET /purchases/{id}/refunds": "user", "POST /purchases/{id}/refunds": "admin", "GET /admin/refunds": "support",
		"GET /bills": "user", "GET /bills/{id}": "user", "POST /bills": "user", "GET /transactions": "user",
		"POST /payment/webhook": "", "POST /payment/reversals": "", "GET /admin/reversals": "support", "GET /admin/transactions": "support", "GET /admin/purchases": "support", "GET /payment/credits": "provider", "GET /payment/credits/{transaction_id}": "provider", "GET /payment/refused": "provider", "POST /payment/verify": "provider", "GET /customers": "support", "GET /customers/{user_id}": "support", "GET /customers/{user_id}/bills": "support",
	}
	got := map[string]string{}
	for _, op := range checker.Operations() {
		got[op.Method+" "+op.Path] = op.Role
		if op.Method == "GET" && op.Role == "admin" || op.Method != "GET" && op.Role == "support" {
			t.Errorf("%s %s requires role %q: support reads what an admin reads, and changes nothing", op.Method, op.Path, op.Role)
		}
	}
	for name, role := range want {
		if r, there := got[name]; !there || r != role {
			t.Errorf("%s: the contracts require role %q (operation exists: %v), the design %q", name, r, there, role)
		}
	}
	if len(got) != len(want) {
		t.Errorf("the contracts have %d operations, the design %d", len(got), len(want))
	}
}

func TestTheInternalPortIsNotForClients(t *testing.T) {
	t.Parallel()
	c := &client{base: shop.GatewayURL()}
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/auth/../metrics", "/products/..%2f..%2fmetrics"} {
		if a := c.call(t, "GET", path, nil); a.status < 400 || strings.Contains(string(a.body), "go_goroutines") {
			t.Errorf("GET %s: %s", path, a)
		}
	}
	for _, name := range stack.Services() {
		r := shop.Replicas(name)[0]
		internal := &client{base: r.InternalURL()}
		for _, path := range []string{"/livez", "/readyz", "/metrics"} {
			if a, err := internal.plain(t.Context(), path); err != nil || a.status != 200 {
				t.Errorf("%s %s: %v %v", name, path, a, err)
			}
			if a := (&client{base: r.URL()}).call(t, "GET", path, nil); a.status != 404 {
				t.Errorf("%s %s on the public port: %s", name, path, a)
			}
		}
		a := c.call(t, "GET", "/"+name+"/openapi.json", nil)
		if a.status != 200 || a.str("openapi") != "3.1.0" {
			t.Errorf("%s's contract: %.200s", name, a)
		}
	}
}

// forger issues tokens as auth does, with auth's own key.
type forger struct {
	key    ed25519.PrivateKey
	claims jwt.MapClaims
	kid    any
}

func newForger(t *testing.T, u *user) forger {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(shop.data, "signing-keys.json"))
	must(t, err)
	var set struct{ Keys []struct{ D string } }
	must(t, json.Unmarshal(text, &set))
	seed, err := base64.RawURLEncoding.DecodeString(set.Keys[0].D)
	must(t, err)
	claims := jwt.MapClaims{}
	parsed, _, err := jwt.NewParser().ParseUnverified(u.token, claims)
	must(t, err)
	return forger{ed25519.NewKeyFromSeed(seed), claims, parsed.Header["kid"]}
}

// token changes the claims and header of a valid token, and signs it with auth's key.
func (f forger) token(t *testing.T, change func(claims jwt.MapClaims, header map[string]any)) string {
	t.Helper()
	token := f.unsigned(jwt.SigningMethodEdDSA)
	change(token.Claims.(jwt.MapClaims), token.Header)
	text, err := token.SignedString(f.key)
	must(t, err)
	return text
}

func (f forger) signed(t *testing.T, method jwt.SigningMethod, key any) string {
	t.Helper()
	text, err := f.unsigned(method).SignedString(key)
	must(t, err)
	return text
}

func (f forger) unsigned(method jwt.SigningMethod) *jwt.Token {
	claims := jwt.MapClaims{}
	for k, v := range f.claims {
		claims[k] = v
	}
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"], token.Header["typ"] = f.kid, "at+jwt"
	return token
}

// tamper changes a user's token into an admin's, but keeps the signature.
func tamper(t *testing.T, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, err)
	raised := strings.Replace(string(claims), `"role":"user"`, `"role":"admin"`, 1)
	if raised == string(claims) {
		t.Fatalf("no role in %s", claims)
	}
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(raised))
	return strings.Join(parts, ".")
}

func (s *shopUnderTest) disable(t *testing.T, u *user) {
	t.Helper()
	if a := s.admin.want(t, 200, "", "PATCH", fmt.Sprint("/users/", u.id), map[string]any{"enabled": false}); a.str("status") != "disabled" {
		t.Errorf("%s", a)
	}
	s.untilRefused(t, u)
}
