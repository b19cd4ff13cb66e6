package token_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lavka/libs/service/token"
)

// fixed returns keys that are the same in every process, so that a failing input
// found by one can be reproduced by another.
func fixed(f *testing.F) (ed25519.PrivateKey, *ecdsa.PrivateKey) {
	f.Helper()
	ec, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		f.Fatal(err)
	}
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)), ec
}

func fixedVerifier(f *testing.F, ed ed25519.PrivateKey, ec *ecdsa.PrivateKey) *token.Verifier {
	f.Helper()
	known := &keys{known: map[string]any{"main": ed.Public(), "ec": &ec.PublicKey}}
	v, err := token.NewVerifier(known, "lavka", "shop", time.Hour, func() time.Time { return noon })
	if err != nil {
		f.Fatal(err)
	}
	return v
}

// Whatever a client sends, only what our keys have signed is accepted.
func FuzzVerify(f *testing.F) {
	ed, ec := fixed(f)
	v := fixedVerifier(f, ed, ec)
	sign := func(method jwt.SigningMethod, key any, kid string, c jwt.MapClaims) string {
		tok := jwt.NewWithClaims(method, c)
		tok.Header["kid"], tok.Header["typ"] = kid, token.Type
		text, err := tok.SignedString(key)
		if err != nil {
			f.Fatal(err)
		}
		return text
	}
	ours := []string{
		sign(jwt.SigningMethodEdDSA, ed, "main", claims(nil)),
		sign(jwt.SigningMethodEdDSA, ed, "main", claims(jwt.MapClaims{"sub": "8", "role": "admin"})),
		sign(jwt.SigningMethodES256, ec, "ec", claims(nil)),
	}
	strangers := []string{
		sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "main", claims(nil)),
		sign(jwt.SigningMethodHS256, []byte(ed.Public().(ed25519.PublicKey)), "main", claims(nil)),
		sign(jwt.SigningMethodEdDSA, ed, "ec", claims(nil)),
		sign(jwt.SigningMethodES256, ec, "main", claims(nil)),
		mix(ours[0], ours[1]), "", ".", "..", "a.b.c", ours[0] + ".", ours[0] + "=", ours[0][:len(ours[0])-1],
	}
	for _, text := range slices.Concat(ours, strangers) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := v.Verify(t.Context(), text)
		again, err2 := v.Verify(t.Context(), text)
		if (err == nil) != (err2 == nil) || id != again {
			t.Fatalf("%q: first %+v, %v; then %+v, %v", text, id, err, again, err2)
		}
		if err != nil {
			return
		}
		// A signature can be encoded in more than one way; what is signed can't.
		for _, one := range ours {
			if signed(text) == signed(one) {
				return
			}
		}
		t.Fatalf("%q was accepted as %+v", text, id)
	})
}

// Even of what our key has signed, only access tokens are accepted, and only with
// the claims that they contain.
func FuzzVerifySigned(f *testing.F) {
	ed, ec := fixed(f)
	v := fixedVerifier(f, ed, ec)
	const header = `{"alg":"EdDSA","kid":"main","typ":"at+jwt"}`
	const good = `{"iss":"lavka","aud":["shop"],"sub":"7","role":"user","ver":3,"exp":1777637400}`
	for _, c := range []struct{ header, claims string }{
		{header, good},
		{`{"alg":"EdDSA","kid":"main","typ":"JWT"}`, good}, {`{"alg":"EdDSA","typ":"at+jwt"}`, good}, {`{"alg":"none","kid":"main","typ":"at+jwt"}`, good},
		{`{"alg":"EdDSA","kid":"main","kid":"ec","typ":"at+jwt","crit":["x"]}`, good}, {`null`, `null`}, {`[]`, `""`},
		{header, strings.Replace(good, `"shop"`, `"shop","other"`, 1)}, {header, strings.Replace(good, `"7"`, `"+7"`, 1)},
		{header, strings.Replace(good, `1777637400`, `1777637400.5`, 1)}, {header, strings.Replace(good, `1777637400`, `1e300`, 1)},
		{header, strings.Replace(good, `{`, `{"ROLE":"admin",`, 1)}, {header, strings.Replace(good, `}`, `,"role":"admin","nbf":-1}`, 1)},
		{header, strings.Replace(good, `"user"`, `"support"`, 1)}, {header, strings.Replace(good, `"user"`, `"king"`, 1)},
		{header, strings.Replace(good, `3`, `9223372036854775808`, 1)},
	} {
		f.Add(c.header, c.claims)
	}
	f.Fuzz(func(t *testing.T, header, claims string) {
		b64 := base64.RawURLEncoding
		text := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(claims))
		text += "." + b64.EncodeToString(ed25519.Sign(ed, []byte(text)))
		id, err := v.Verify(t.Context(), text)
		if err != nil {
			return
		}
		var h map[string]any
		var c struct {
			Iss, Sub, Role string
			Aud            any
			Exp            float64
			Ver            int64
		}
		if err := json.Unmarshal([]byte(header), &h); err != nil {
			t.Fatalf("the header %q was accepted: %v", header, err)
		}
		if err := json.Unmarshal([]byte(claims), &c); err != nil {
			t.Fatalf("the claims %q were accepted: %v", claims, err)
		}
		if len(text) > token.MaxLength || h["alg"] != "EdDSA" || h["kid"] != "main" || h["typ"] != token.Type {
			t.Fatalf("the header %q was accepted", header)
		}
		sub, err := strconv.ParseInt(c.Sub, 10, 64)
		if err != nil || sub <= 0 || c.Iss != "lavka" || !names(c.Aud, "shop") || c.Role == "" || c.Ver < 1 {
			t.Fatalf("the claims %q were accepted: %+v", claims, c)
		}
		if end := time.Unix(int64(c.Exp), 0); !end.After(noon) || end.After(noon.Add(time.Hour+time.Minute)) {
			t.Fatalf("the claims %q were accepted, but expire at %v", claims, end)
		}
		if c.Role != token.RoleSupport && c.Role != token.RoleAdmin {
			c.Role = token.RoleUser // also one of a later release
		}
		if id.UserID != sub || id.Role != c.Role || id.Version != c.Ver || id.ExpiresAt.Unix() != int64(c.Exp) {
			t.Fatalf("the claims %q were read as %+v", claims, id)
		}
	})
}

// signed returns the part of a token that is signed.
func signed(text string) string { return text[:max(0, strings.LastIndex(text, "."))] }

// mix puts one token's signature under another's claims.
func mix(one, other string) string { return signed(one) + other[strings.LastIndex(other, "."):] }

func names(aud any, want string) bool {
	list, ok := aud.([]any)
	return aud == want || ok && slices.Contains(list, any(want))
}
