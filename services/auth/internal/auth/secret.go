package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

const secretBytes = 32

// Secret is 256 random bits: an activation link's or a refresh token's. There
// is so much of it that a plain SHA-256 keeps it.
type Secret struct{ bytes [secretBytes]byte }

// TokenHash is what the database knows of a secret.
type TokenHash [sha256.Size]byte

// NewSecret makes a secret.
func NewSecret() Secret {
	var s Secret
	rand.Read(s.bytes[:]) // never fails
	return s
}

// ParseSecret reads the text of a secret.
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

// Text is the secret as clients get it (base64url, 43 characters).
func (s Secret) Text() string { return base64.RawURLEncoding.EncodeToString(s.bytes[:]) }

// Hash is the secret as it is stored.
func (s Secret) Hash() TokenHash { return sha256.Sum256(s.bytes[:]) }

// String keeps the secret out of logs.
func (Secret) String() string { return "[redacted]" }
