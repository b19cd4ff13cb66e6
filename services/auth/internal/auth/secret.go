package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

const secretBytes = 32

// Secret is the 256 random bits of an activation link or a refresh token. With that
// much entropy, a plain SHA-256 is enough to store it safely.
type Secret struct{ bytes [secretBytes]byte }

// TokenHash is the SHA-256 of a secret, the only form in which it is stored.
type TokenHash [sha256.Size]byte

// NewSecret returns a random secret.
func NewSecret() Secret {
	var s Secret
	rand.Read(s.bytes[:]) // never fails
	return s
}

// ParseSecret parses the text of a secret and reports whether it is valid.
func ParseSecret(text string) (Secret, bool) {
	var s Secret
	if len(text) != base64.RawURLEncoding.EncodedLen(secretBytes) {
		return s, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return s, false
	}
	copy(s.bytes[:], b)
	return s, true
}

// Text returns the secret as clients get it (base64url, 43 characters).
func (s Secret) Text() string { return base64.RawURLEncoding.EncodeToString(s.bytes[:]) }

// Hash returns the hash under which the secret is stored.
func (s Secret) Hash() TokenHash { return sha256.Sum256(s.bytes[:]) }

// String keeps the secret out of logs.
func (Secret) String() string { return "[redacted]" }
