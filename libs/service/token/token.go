// Package token reads access tokens: JWTs (RFC 7519) in the profile of
// RFC 9068, signed with EdDSA or ES256.
package token

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"
)

// Type is the "typ" of an access token (RFC 9068, section 2.1).
const Type = "at+jwt"

// Roles that a token can carry. An unknown one, which a later release may have, is read
// as RoleUser.
const (
	RoleUser    = "user"
	RoleSupport = "support"
	RoleAdmin   = "admin"
)

// MaxLength is the maximum length of a token, in bytes.
const MaxLength = 4096

// clockSlack is how far auth's clock may be ahead.
const clockSlack = time.Minute

// remembered limits how many verified tokens are kept, and rememberedFor for how
// long. A minute saves nearly all of the work, and it is the longest that tokens
// signed with a stolen key stay valid after the key is removed.
const (
	remembered    = 100_000
	rememberedFor = time.Minute
)

// Claims are the members of an access token.
type Claims struct {
	jwt.RegisteredClaims
	Role    string `json:"role"`
	Version int64  `json:"ver"`           // the user's token version when the token was issued
	Session string `json:"sid,omitempty"` // the session that it was issued to; a release up to v0.6.0 names none
}

// Identity is the user that a valid token was issued to.
type Identity struct {
	UserID    int64
	Role      string
	Version   int64
	Session   string // "" if the token names none
	ExpiresAt time.Time
}

// ReadsAll reports whether the user may read what belongs to other users.
func (i Identity) ReadsAll() bool { return i.Role == RoleSupport || i.Role == RoleAdmin }

// Keys finds the public key of a token.
type Keys interface {
	Keyfunc(ctx context.Context) jwt.Keyfunc
	// Ready reports whether keys have been read at all.
	Ready() bool
}

// Verifier checks tokens. It caches valid tokens for a minute, so that the signature
// is not checked on every request.
type Verifier struct {
	keys     Keys
	parser   *jwt.Parser
	lifetime time.Duration
	now      func() time.Time
	known    *lru.Cache[[sha256.Size]byte, verified]
}

type verified struct {
	id    Identity
	until time.Time
}

// NewVerifier returns a Verifier of one issuer's tokens for one audience. It rejects
// a token that expires later than lifetime from now (allowing a minute for clock
// differences), because revocations are remembered for no longer than that.
func NewVerifier(keys Keys, issuer, audience string, lifetime time.Duration, now func() time.Time) (*Verifier, error) {
	known, err := lru.New[[sha256.Size]byte, verified](remembered)
	if err != nil {
		return nil, fmt.Errorf("create token cache: %w", err)
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg(), jwt.SigningMethodES256.Alg()}),
		jwt.WithIssuer(issuer),
		jwt.WithAudience(audience),
		jwt.WithExpirationRequired(),
		jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(now),
	)
	return &Verifier{keys: keys, parser: parser, lifetime: lifetime, now: now, known: known}, nil
}

// Ready reports whether the issuer's keys have been read.
func (v *Verifier) Ready() bool { return v.keys.Ready() }

// Verify checks a token's signature, type, issuer, audience and expiry, and returns
// its user. Its error is for the log, not for the client.
func (v *Verifier) Verify(ctx context.Context, raw string) (Identity, error) {
	if len(raw) > MaxLength {
		return Identity{}, errors.New("token is too long")
	}
	sum := sha256.Sum256([]byte(raw))
	if id, ok := v.remembered(sum); ok {
		return id, nil
	}
	var claims Claims
	// A client that disconnects must not waste the one refetch for unknown keys.
	parsed, err := v.parser.ParseWithClaims(raw, &claims, v.keys.Keyfunc(context.WithoutCancel(ctx)))
	if err != nil {
		return Identity{}, err
	}
	if kid, _ := parsed.Header["kid"].(string); kid == "" {
		return Identity{}, errors.New("kid is missing") // the library would try every key
	}
	if claims.ExpiresAt.Sub(v.now()) > v.lifetime+clockSlack {
		return Identity{}, errors.New("exp is later than the token lifetime allows: is TOKEN_LIFETIME the same in all services?")
	}
	if parsed.Header["typ"] != Type {
		return Identity{}, fmt.Errorf("typ is %v, not %s", parsed.Header["typ"], Type)
	}
	id, err := identity(claims)
	if err != nil {
		return Identity{}, err
	}
	until := v.now().Add(rememberedFor)
	if id.ExpiresAt.Before(until) {
		until = id.ExpiresAt
	}
	v.known.Add(sum, verified{id, until})
	return id, nil
}

// Known returns the user of a token that was verified within the last minute. It costs
// a hash, and no check of a signature.
func (v *Verifier) Known(raw string) (Identity, bool) {
	if len(raw) > MaxLength {
		return Identity{}, false
	}
	return v.remembered(sha256.Sum256([]byte(raw)))
}

func (v *Verifier) remembered(sum [sha256.Size]byte) (Identity, bool) {
	known, ok := v.known.Get(sum)
	return known.id, ok && v.now().Before(known.until)
}

func identity(c Claims) (Identity, error) {
	userID, err := strconv.ParseInt(c.Subject, 10, 64)
	if err != nil || userID <= 0 {
		return Identity{}, errors.New("sub is not a user id")
	}
	switch c.Role {
	case RoleUser, RoleSupport, RoleAdmin:
	case "":
		return Identity{}, errors.New("role is missing")
	default:
		c.Role = RoleUser
	}
	if c.Version < 1 {
		return Identity{}, errors.New("ver is missing")
	}
	return Identity{UserID: userID, Role: c.Role, Version: c.Version, Session: c.Session, ExpiresAt: c.ExpiresAt.Time}, nil
}
