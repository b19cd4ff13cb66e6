package keys

import (
	"fmt"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"lavka/libs/service/token"
	"lavka/services/auth/internal/auth"
)

// Issuer issues access tokens: JWTs in the profile of RFC 9068, signed with EdDSA
// by the first key of a ring.
type Issuer struct {
	ring             *Ring
	issuer, audience string
	lifetime         time.Duration
	now              func() time.Time
}

// NewIssuer returns an Issuer of tokens that are valid for lifetime.
func NewIssuer(ring *Ring, issuer, audience string, lifetime time.Duration, now func() time.Time) *Issuer {
	return &Issuer{ring: ring, issuer: issuer, audience: audience, lifetime: lifetime, now: now}
}

// AccessToken returns a token with the user's current role and token version, and the
// id of their session.
func (i *Issuer) AccessToken(in auth.LoggedIn) (string, error) {
	user := in.User
	now := i.now()
	jti, err := uuid.NewRandom()
	if err != nil {
		return "", fmt.Errorf("create token id: %w", err)
	}
	session := "" // none
	if in.Session != uuid.Nil {
		session = in.Session.String()
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, token.Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    i.issuer,
			Subject:   strconv.FormatInt(user.ID, 10),
			Audience:  jwt.ClaimStrings{i.audience},
			ExpiresAt: jwt.NewNumericDate(now.Add(i.lifetime)),
			IssuedAt:  jwt.NewNumericDate(now),
			ID:        jti.String(),
		},
		Role:    string(user.Role),
		Version: user.TokenVersion,
		Session: session,
	})
	id, key := i.ring.signing()
	t.Header["kid"] = id
	t.Header["typ"] = token.Type
	text, err := t.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return text, nil
}
