package token_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lavka/libs/service/token"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// keys holds public keys by kid, and counts lookups.
type keys struct {
	known map[string]any
	asked atomic.Int64
}

func (k *keys) Ready() bool { return true }

func (k *keys) Keyfunc(context.Context) jwt.Keyfunc {
	return func(t *jwt.Token) (any, error) {
		k.asked.Add(1)
		kid, _ := t.Header["kid"].(string)
		if key, ok := k.known[kid]; ok {
			return key, nil
		}
		return nil, errors.New("unknown kid")
	}
}

// forger signs tokens with arbitrary headers and claims.
type forger struct {
	t       *testing.T
	private ed25519.PrivateKey
	public  ed25519.PublicKey
}

func newForger(t *testing.T) forger {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return forger{t, private, public}
}

func claims(change jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{
		"iss": "lavka", "aud": []string{"shop"}, "sub": "7", "role": "user", "ver": 3, "jti": "x",
		"iat": noon.Unix(), "exp": noon.Add(10 * time.Minute).Unix(),
	}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func (f forger) sign(method jwt.SigningMethod, key any, header map[string]any, c jwt.MapClaims) string {
	f.t.Helper()
	tok := jwt.NewWithClaims(method, c)
	tok.Header["kid"], tok.Header["typ"] = "main", "at+jwt"
	maps.Copy(tok.Header, header)
	text, err := tok.SignedString(key)
	if err != nil {
		f.t.Fatal(err)
	}
	return text
}

func (f forger) good() string { return f.sign(jwt.SigningMethodEdDSA, f.private, nil, claims(nil)) }

func newVerifier(t *testing.T, k token.Keys, now func() time.Time) *token.Verifier {
	t.Helper()
	v, err := token.NewVerifier(k, "lavka", "shop", time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerify(t *testing.T) {
	t.Parallel()
	f, stranger := newForger(t), newForger(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, &keys{known: map[string]any{"main": f.public, "ec": &ec.PublicKey}}, func() time.Time { return noon })

	for name, text := range map[string]string{
		"EdDSA":           f.good(),
		"ES256":           f.sign(jwt.SigningMethodES256, ec, map[string]any{"kid": "ec"}, claims(nil)),
		"one audience":    f.sign(jwt.SigningMethodEdDSA, f.private, nil, claims(jwt.MapClaims{"aud": "shop"})),
		"unknown members": f.sign(jwt.SigningMethodEdDSA, f.private, nil, claims(jwt.MapClaims{"more": 1})),
	} {
		id, err := v.Verify(t.Context(), text)
		if err != nil || id.UserID != 7 || id.Role != "user" || id.Version != 3 || !id.ExpiresAt.Equal(noon.Add(10*time.Minute)) {
			t.Errorf("%s: %+v %v", name, id, err)
		}
	}

	with := func(c jwt.MapClaims) string { return f.sign(jwt.SigningMethodEdDSA, f.private, nil, claims(c)) }
	head := func(h map[string]any) string { return f.sign(jwt.SigningMethodEdDSA, f.private, h, claims(nil)) }
	good := f.good()
	parts := strings.Split(good, ".")
	for name, text := range map[string]string{
		"empty": "", "garbage": "x.y.z", "no signature": parts[0] + "." + parts[1] + ".", "two parts": parts[0] + "." + parts[1],
		"cut":                          good[:len(good)-4],
		"alg none":                     f.sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, claims(nil)),
		"public key as secret":         f.sign(jwt.SigningMethodHS256, []byte(f.public), nil, claims(nil)),
		"HS512":                        f.sign(jwt.SigningMethodHS512, []byte(f.public), nil, claims(nil)),
		"another's signature":          stranger.good(),
		"another kind of key":          f.sign(jwt.SigningMethodES256, ec, nil, claims(nil)),
		"unknown kid":                  head(map[string]any{"kid": "other"}),
		"no kid":                       head(map[string]any{"kid": nil}),
		"kid is a number":              head(map[string]any{"kid": 1}),
		"typ JWT":                      head(map[string]any{"typ": "JWT"}),
		"no typ":                       head(map[string]any{"typ": nil}),
		"issuer":                       with(jwt.MapClaims{"iss": "other"}),
		"no issuer":                    with(jwt.MapClaims{"iss": nil}),
		"audience":                     with(jwt.MapClaims{"aud": []string{"other"}}),
		"no audience":                  with(jwt.MapClaims{"aud": nil}),
		"expired":                      with(jwt.MapClaims{"exp": noon.Unix() - 1}),
		"expires now":                  with(jwt.MapClaims{"exp": noon.Unix()}),
		"never expires":                with(jwt.MapClaims{"exp": nil}),
		"not yet":                      with(jwt.MapClaims{"nbf": noon.Unix() + 60}),
		"no subject":                   with(jwt.MapClaims{"sub": nil}),
		"subject zero":                 with(jwt.MapClaims{"sub": "0"}),
		"subject negative":             with(jwt.MapClaims{"sub": "-7"}),
		"subject a name":               with(jwt.MapClaims{"sub": "anna"}),
		"no role":                      with(jwt.MapClaims{"role": nil}),
		"no version":                   with(jwt.MapClaims{"ver": nil}),
		"version zero":                 with(jwt.MapClaims{"ver": 0}),
		"version a text":               with(jwt.MapClaims{"ver": "3"}),
		"too long":                     with(jwt.MapClaims{"more": strings.Repeat("x", token.MaxLength)}),
		"other claims, same signature": parts[0] + "." + strings.Split(with(jwt.MapClaims{"role": "admin"}), ".")[1] + "." + parts[2],
	} {
		// Twice: a rejected token must not be cached as valid.
		for range 2 {
			if id, err := v.Verify(t.Context(), text); err == nil {
				t.Errorf("%s: %+v", name, id)
			}
		}
	}
}

// The limits themselves are allowed.
func TestVerifyAtTheLimits(t *testing.T) {
	t.Parallel()
	f := newForger(t)
	v := newVerifier(t, &keys{known: map[string]any{"main": f.public}}, func() time.Time { return noon })
	with := func(c jwt.MapClaims) string { return f.sign(jwt.SigningMethodEdDSA, f.private, nil, claims(c)) }
	latest := noon.Add(time.Hour + time.Minute).Unix() // the lifetime, and a minute for auth's clock
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"version 1":         {with(jwt.MapClaims{"ver": 1}), true},
		"user 1":            {with(jwt.MapClaims{"sub": "1"}), true},
		"the latest expiry": {with(jwt.MapClaims{"exp": latest}), true},
		"later":             {with(jwt.MapClaims{"exp": latest + 1}), false},
	} {
		if _, err := v.Verify(t.Context(), c.text); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheLongestToken(t *testing.T) {
	t.Parallel()
	f := newForger(t)
	v := newVerifier(t, &keys{known: map[string]any{"main": f.public}}, func() time.Time { return noon })
	for n := token.MaxLength / 2; ; n++ {
		text := f.sign(jwt.SigningMethodEdDSA, f.private, nil, claims(jwt.MapClaims{"more": strings.Repeat("x", n)}))
		_, err := v.Verify(t.Context(), text)
		if fits := len(text) <= token.MaxLength; fits != (err == nil) {
			t.Fatalf("a token of %d bytes: %v", len(text), err)
		} else if _, known := v.Known(text); known != fits {
			t.Fatalf("a token of %d bytes is known: %v", len(text), known)
		} else if !fits {
			return
		}
	}
}

func TestReadsAll(t *testing.T) {
	t.Parallel()
	for role, want := range map[string]bool{token.RoleUser: false, token.RoleSupport: true, token.RoleAdmin: true} {
		if got := (token.Identity{Role: role}).ReadsAll(); got != want {
			t.Errorf("the role %s reads everything: %v", role, got)
		}
	}
}

func TestVerifyRemembersForAMinute(t *testing.T) {
	t.Parallel()
	f := newForger(t)
	k := &keys{known: map[string]any{"main": f.public}}
	now := noon
	v := newVerifier(t, k, func() time.Time { return now })
	verify := func(text string, want int64) error {
		t.Helper()
		_, err := v.Verify(t.Context(), text)
		if got := k.asked.Load(); got != want {
			t.Errorf("at %v: %d keys were looked up, want %d", now, got, want)
		}
		return err
	}
	long := f.good()
	for range 3 {
		if err := verify(long, 1); err != nil {
			t.Fatal(err)
		}
	}
	now = noon.Add(time.Minute)
	delete(k.known, "main") // stolen, and so removed
	if err := verify(long, 2); err == nil {
		t.Error("accepted a minute after its key was removed")
	}
	k.known["main"] = f.public
	short := f.sign(jwt.SigningMethodEdDSA, f.private, nil, claims(jwt.MapClaims{"exp": noon.Unix() + 61}))
	if err := verify(short, 3); err != nil {
		t.Fatal(err)
	}
	now = noon.Add(61 * time.Second)
	if err := verify(short, 4); !errors.Is(err, jwt.ErrTokenExpired) {
		t.Errorf("a cached token was accepted after it had expired: %v", err)
	}
}
