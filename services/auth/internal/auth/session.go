package auth

import (
	"context"
	"errors"
	"time"

	"lavka/libs/domain/problem"
)

// Grace is how long a spent refresh token may be used again: responses get lost,
// and several tabs refresh at once.
const Grace = 10 * time.Second

// MaxSession is the maximum length of a session, however often it is refreshed.
// After that the user has to log in again.
const MaxSession = 90 * 24 * time.Hour

// SessionStore is the part of the database that [Sessions] needs. Each method is
// one transaction.
type SessionStore interface {
	// User returns a user, or ErrUserNotFound.
	User(ctx context.Context, id int64) (User, error)
	// StartSession adds a session. It returns ErrInvalidCredentials if the user's
	// password hash is no longer checkedHash, and the error of [User.MayLogIn] if
	// the user may not log in.
	StartSession(ctx context.Context, userID int64, checkedHash string, token TokenHash, lifetime time.Duration) (User, error)
	// Refresh replaces a refresh token by another as [DecideRefresh] decides, or
	// returns ErrRefreshInvalid.
	Refresh(ctx context.Context, old, next TokenHash, lifetime time.Duration) (User, error)
	// EndSession ends the session of a refresh token, if the session is the user's.
	EndSession(ctx context.Context, userID int64, token TokenHash) error
	// ChangePassword sets a new hash, ends every session of the user and increases
	// the token version. It returns ErrInvalidCredentials if the user's password
	// hash is no longer checkedHash.
	ChangePassword(ctx context.Context, userID int64, checkedHash, newHash string) error
}

// AccessTokens issues access tokens.
type AccessTokens interface {
	AccessToken(user User) (string, error)
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
	user, err = s.store.StartSession(ctx, user.ID, hash, secret.Hash(), s.lifetime)
	if err != nil {
		return Pair{}, err
	}
	return s.pair(user, secret)
}

// Refresh exchanges a refresh token for a new pair. A token that was spent longer
// ago than [Grace] ends its session: two clients have it, so one of them stole it.
func (s *Sessions) Refresh(ctx context.Context, token string) (Pair, error) {
	old, ok := ParseSecret(token)
	if !ok {
		return Pair{}, ErrRefreshInvalid
	}
	next := NewSecret()
	user, err := s.store.Refresh(ctx, old.Hash(), next.Hash(), s.lifetime)
	if err != nil {
		return Pair{}, err
	}
	return s.pair(user, next)
}

// Logout ends the session of a refresh token. It does nothing if the token is
// unknown or belongs to another user.
func (s *Sessions) Logout(ctx context.Context, userID int64, token string) error {
	secret, ok := ParseSecret(token)
	if !ok {
		return nil
	}
	return s.store.EndSession(ctx, userID, secret.Hash())
}

// ChangePassword sets a new password, ends every session of the user and revokes
// their access tokens.
func (s *Sessions) ChangePassword(ctx context.Context, userID int64, old, next, address string) error {
	user, err := s.store.User(ctx, userID)
	if err != nil {
		return err
	}
	if err := checkPasswordLength(next, "new_password"); err != nil {
		return err
	}
	_, checked, err := s.credentials.Check(ctx, user.Login, old, address)
	if errors.Is(err, ErrInvalidCredentials) {
		return errOldPassword
	}
	if err != nil {
		return err
	}
	hash, err := s.credentials.hashNew(ctx, member, user.Login, next, "new_password")
	if err != nil {
		return err
	}
	if err := s.store.ChangePassword(ctx, userID, checked, hash); err != nil {
		return err
	}
	s.changed()
	return nil
}

func (s *Sessions) pair(user User, refresh Secret) (Pair, error) {
	access, err := s.tokens.AccessToken(user)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Access: access, Refresh: refresh.Text()}, nil
}

// StoredToken is a refresh token as stored, with its session.
type StoredToken struct {
	ExpiresAt        time.Time
	SpentAt          *time.Time
	SessionStartedAt time.Time
	SessionEnded     bool
}

// RefreshDecision is what to do with a refresh token.
type RefreshDecision int

// The decisions.
const (
	Refuse     RefreshDecision = iota // refuse it and change nothing
	EndSession                        // refuse it and end its session: it was stolen
	Rotate                            // mark it spent and issue the next one
	GiveAgain                         // spent within Grace: issue another next one
)

// DecideRefresh decides what to do with a refresh token of a user.
func DecideRefresh(now time.Time, token StoredToken, user User) RefreshDecision {
	switch {
	case token.SessionEnded, !now.Before(token.ExpiresAt), now.Sub(token.SessionStartedAt) >= MaxSession, user.MayLogIn() != nil:
		return Refuse
	case token.SpentAt == nil:
		return Rotate
	case now.Sub(*token.SpentAt) <= Grace:
		return GiveAgain
	}
	return EndSession
}
