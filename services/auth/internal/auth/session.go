package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/problem"
)

// Grace is how long a spent refresh token may be used again: responses get lost,
// and several tabs refresh at once.
const Grace = 10 * time.Second

// MaxSession is the maximum length of a session, however often it is refreshed.
// After that the user has to log in again.
const MaxSession = 90 * 24 * time.Hour

// MaxSessions is how many open sessions a user may have. A login beyond it ends the
// session that was unused longest.
const MaxSessions = 100

// SessionStore is the part of the database that [Sessions] needs. Each method is
// one transaction.
type SessionStore interface {
	// User returns a user, or ErrUserNotFound.
	User(ctx context.Context, id int64) (User, error)
	// StartSession adds a session. It returns ErrInvalidCredentials if the user's
	// password hash is no longer checkedHash, and the error of [User.MayLogIn] if
	// the user may not log in.
	StartSession(ctx context.Context, userID int64, checkedHash string, token TokenHash, lifetime time.Duration) (LoggedIn, error)
	// Refresh spends a refresh token as [DecideRefresh] decides, and returns its session
	// and the token's successor, or ErrRefreshInvalid. Of the same token it returns
	// the same successor, through whichever replica; salt is used the first time.
	Refresh(ctx context.Context, token Secret, salt Salt, lifetime time.Duration) (LoggedIn, Secret, error)
	// EndSession ends the session of a refresh token, if the session is the caller's.
	// It returns the error of [User.MayAct].
	EndSession(ctx context.Context, caller Caller, token TokenHash) error
	// OpenSessions returns the open sessions of a user, the last used first, at most
	// MaxSessions.
	OpenSessions(ctx context.Context, user User) ([]OpenSession, error)
	// EndOneSession ends one of the caller's sessions and increases the token version.
	// It returns the error of [User.MayAct], or ErrSessionNotFound.
	EndOneSession(ctx context.Context, caller Caller, id uuid.UUID) error
	// EndOtherSessions ends the caller's sessions except the one of their token, and
	// increases the token version. What it costs does not depend on how many there are.
	// It returns the error of [User.MayAct], also if that session has ended.
	EndOtherSessions(ctx context.Context, caller Caller) error
	// EndAllSessions ends all sessions of a user on behalf of an admin and increases
	// the token version. It returns the error of [User.MayAct] or [User.MayAdminister]
	// for the admin, or ErrUserNotFound.
	EndAllSessions(ctx context.Context, admin Caller, id int64) error
	// ChangePassword sets a new hash, ends every session of the user and increases
	// the token version. What it costs does not depend on how many sessions there
	// are. It returns the error of [User.MayAct], or ErrInvalidCredentials if the
	// user's password hash is no longer checkedHash.
	ChangePassword(ctx context.Context, caller Caller, checkedHash, newHash string) error
}

// AccessTokens issues access tokens.
type AccessTokens interface {
	AccessToken(in LoggedIn) (string, error)
}

// LoggedIn is a user with one of their sessions.
type LoggedIn struct {
	User    User
	Session uuid.UUID
}

// Pair is the pair of tokens that a client gets for a login or a refresh.
type Pair struct {
	Access  string
	Refresh string
}

// Sessions logs users in and out, refreshes their tokens and changes their
// passwords. A session is a family of refresh tokens, each issued in exchange for an
// earlier one.
type Sessions struct {
	store       SessionStore
	credentials *Credentials
	tokens      AccessTokens
	lifetime    time.Duration // of a refresh token
	changed     func()
}

// ErrRefreshInvalid refuses a refresh token without revealing why.
var ErrRefreshInvalid = problem.New(problem.Unauthenticated, "refresh_token_invalid", "the refresh token is unknown, already used or expired, or its session has ended; log in again")

var errOldPassword = problem.New(problem.Unauthenticated, "invalid_credentials", "old_password is wrong")

// NewSessions returns Sessions whose refresh tokens are valid for lifetime. It calls
// changed after each change of a user.
func NewSessions(store SessionStore, credentials *Credentials, tokens AccessTokens, lifetime time.Duration, changed func()) *Sessions {
	return &Sessions{store: store, credentials: credentials, tokens: tokens, lifetime: lifetime, changed: changed}
}

// Login starts a session. Only a caller with the right password learns that a user
// is inactive or disabled.
func (s *Sessions) Login(ctx context.Context, login, password, address string) (Pair, error) {
	user, hash, err := s.credentials.Check(ctx, login, password, address)
	if err != nil {
		return Pair{}, err
	}
	secret := NewSecret()
	in, err := s.store.StartSession(ctx, user.ID, hash, secret.Hash(), s.lifetime)
	if err != nil {
		return Pair{}, err
	}
	return s.pair(in, secret)
}

// Refresh exchanges a refresh token for a new pair. Within [Grace], a token that was
// spent gives the same successor again, so that a session never has two valid tokens:
// an owner and a thief can't each continue with their own. Later it ends its session,
// because two clients have it.
func (s *Sessions) Refresh(ctx context.Context, token string) (Pair, error) {
	old, ok := ParseSecret(token)
	if !ok {
		return Pair{}, ErrRefreshInvalid
	}
	in, next, err := s.store.Refresh(ctx, old, NewSalt(), s.lifetime)
	if err != nil {
		return Pair{}, err
	}
	return s.pair(in, next)
}

// Logout ends the session of a refresh token. It does nothing if the token is
// unknown or belongs to another user.
func (s *Sessions) Logout(ctx context.Context, caller Caller, token string) error {
	secret, ok := ParseSecret(token)
	if !ok {
		return nil
	}
	return s.store.EndSession(ctx, caller, secret.Hash())
}

// ChangePassword sets a new password, ends every session of the user and revokes
// their access tokens. If the caller's own token is revoked while the passwords are
// hashed, nothing changes: see [User.MayAct].
func (s *Sessions) ChangePassword(ctx context.Context, caller Caller, old, next, address string) error {
	user, err := s.store.User(ctx, caller.UserID)
	if err != nil {
		return err
	}
	if err := checkPasswordForm(Normalize(next), "new_password"); err != nil {
		return err
	}
	_, checked, err := s.credentials.Check(ctx, user.Login, old, address)
	if errors.Is(err, ErrInvalidCredentials) {
		return errOldPassword
	}
	if err != nil {
		return err
	}
	hash, err := s.credentials.HashChanged(ctx, user.Login, next, address)
	if err != nil {
		return err
	}
	if err := s.store.ChangePassword(ctx, caller, checked, hash); err != nil {
		return err
	}
	s.changed()
	return nil
}

func (s *Sessions) pair(in LoggedIn, refresh Secret) (Pair, error) {
	access, err := s.tokens.AccessToken(in)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Access: access, Refresh: refresh.Text()}, nil
}

// Salt is the secret half of a refresh token's successor. It is kept with the spent
// token until the grace is over: one half alone does not make the successor.
type Salt [sha256.Size]byte

// NewSalt returns a random salt.
func NewSalt() Salt {
	var s Salt
	rand.Read(s[:]) // never fails
	return s
}

// String keeps the salt out of logs.
func (Salt) String() string { return "[redacted]" }

// Successor returns the refresh token that follows s: HMAC-SHA256 (RFC 2104) of the
// text of s, with the salt as the key.
func (s Secret) Successor(salt Salt) Secret {
	mac := hmac.New(sha256.New, salt[:])
	mac.Write([]byte(s.Text()))
	return Secret{[secretBytes]byte(mac.Sum(nil))}
}

// StoredSession is a session as stored.
type StoredSession struct {
	StartedAt time.Time
	EndedAt   *time.Time
	// Version is the user's SessionVersion when the session was started. It is nil
	// if a release up to v0.6.0 started the session.
	Version *int64
}

// Ended reports whether the session of a user has ended: by itself, or because all of
// the user's sessions were ended since it was started.
func (s StoredSession) Ended(user User) bool {
	switch {
	case s.EndedAt != nil:
		return true
	case s.Version != nil:
		return *s.Version != user.SessionVersion
	}
	return user.SessionsEndedAt != nil && !s.StartedAt.After(*user.SessionsEndedAt)
}

// StoredToken is a refresh token as stored, with its session.
type StoredToken struct {
	ExpiresAt time.Time
	SpentAt   *time.Time
	Salt      *Salt // of its successor: nil if it is unspent, or was spent by a release up to v0.6.0
	Session   StoredSession
}

// RefreshDecision is what to do with a refresh token.
type RefreshDecision int

// The decisions.
const (
	Refuse     RefreshDecision = iota // refuse it and change nothing
	EndSession                        // refuse it and end its session: it was stolen
	Rotate                            // mark it spent and issue its successor
	GiveAgain                         // spent within Grace: return the same successor
)

// DecideRefresh decides what to do with a refresh token of a user.
func DecideRefresh(now time.Time, token StoredToken, user User) RefreshDecision {
	session := token.Session
	switch {
	case session.Ended(user), !now.Before(token.ExpiresAt), now.Sub(session.StartedAt) >= MaxSession, user.MayLogIn() != nil:
		return Refuse
	case token.SpentAt == nil:
		return Rotate
	case now.Sub(*token.SpentAt) > Grace:
		return EndSession
	case token.Salt == nil:
		return Refuse // its successor is not known here, but its use is no theft
	}
	return GiveAgain
}
