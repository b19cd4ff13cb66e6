package auth

import (
	"context"
	"errors"
	"time"
)

// Grace is how long a spent refresh token may be used again, since answers get
// lost and several tabs refresh at once.
const Grace = 10 * time.Second

// MaxSession is how long a session goes on at most, however often it is
// refreshed: then its user shows the password again.
const MaxSession = 90 * 24 * time.Hour

// SessionStore is what [Sessions] needs of the database. Its methods are a
// transaction each.
type SessionStore interface {
	User(ctx context.Context, id int64) (User, error)
	// StartSession adds a session for a user whose password hash is still the
	// one that was checked, else it is ErrInvalidCredentials, and who may log
	// in, else as [User.MayLogIn].
	StartSession(ctx context.Context, userID int64, checkedHash string, token TokenHash, lifetime time.Duration) (User, error)
	// Refresh changes a token for another, as [DecideRefresh] says.
	Refresh(ctx context.Context, old, next TokenHash, lifetime time.Duration) (User, error)
	// EndSession ends the session of a token, if it is that user's.
	EndSession(ctx context.Context, userID int64, token TokenHash) error
	// ChangePassword also ends every session and raises the token version. It
	// is ErrInvalidCredentials when the hash is no longer the one checked.
	ChangePassword(ctx context.Context, userID int64, checkedHash, newHash string) error
}

// AccessTokens makes access tokens.
type AccessTokens interface {
	AccessToken(user User) (string, error)
}

// Pair is what a client logs in for.
type Pair struct {
	Access  string
	Refresh string
}

// Sessions lets users in, keeps them in, and lets them go. A session is a
// family of refresh tokens, each made of the one before.
type Sessions struct {
	store       SessionStore
	credentials *Credentials
	tokens      AccessTokens
	lifetime    time.Duration // of a refresh token
	changed     func()
}

// NewSessions makes Sessions. It calls changed after each change of a user.
func NewSessions(store SessionStore, credentials *Credentials, tokens AccessTokens, lifetime time.Duration, changed func()) *Sessions {
	return &Sessions{store: store, credentials: credentials, tokens: tokens, lifetime: lifetime, changed: changed}
}

// Login starts a session. Only the right password learns that a user is
// inactive or disabled.
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

// Refresh changes a refresh token for a new pair. One that was spent longer ago
// than [Grace] ends its session: two have it, and one of them is a thief.
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

// Logout ends the session of one of the user's own tokens. Any other token
// does nothing.
func (s *Sessions) Logout(ctx context.Context, userID int64, token string) error {
	secret, ok := ParseSecret(token)
	if !ok {
		return nil
	}
	return s.store.EndSession(ctx, userID, secret.Hash())
}

// ChangePassword sets a new password and ends every session and access token
// of the user.
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

// StoredToken is a refresh token as it is kept, with its session.
type StoredToken struct {
	ExpiresAt        time.Time
	SpentAt          *time.Time
	SessionStartedAt time.Time
	SessionEnded     bool
}

// RefreshDecision says what becomes of a refresh token.
type RefreshDecision int

// The decisions.
const (
	Refuse     RefreshDecision = iota // nothing changes
	EndSession                        // it was stolen: refuse, and end its session
	Rotate                            // spend it and give the next
	GiveAgain                         // it is spent, but only just: give another next
)

// DecideRefresh decides on a refresh token and its user.
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

func isNotFound(err error) bool { return errors.Is(err, ErrUserNotFound) }
