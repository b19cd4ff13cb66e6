package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/problem"
)

// OpenSession is a session that can be refreshed.
type OpenSession struct {
	ID         uuid.UUID
	StartedAt  time.Time
	LastUsedAt time.Time // when it was started or last refreshed
}

// The problems with sessions.
var (
	ErrSessionNotFound = problem.New(problem.NotFound, "session_not_found", "you have no open session with this id")
	ErrLogInAgain      = problem.New(problem.Conflict, "log_in_again", "this access token does not say which session it belongs to; refresh it or log in again, then retry")
)

// Open returns the open sessions of a user, the last used first, at most
// [MaxSessions].
func (s *Sessions) Open(ctx context.Context, user User) ([]OpenSession, error) {
	return s.store.OpenSessions(ctx, user)
}

// End ends one of the caller's sessions and revokes the user's access tokens: it may
// be a thief's. The user's other sessions continue after a refresh. It returns
// ErrSessionNotFound if the caller has no such session.
func (s *Sessions) End(ctx context.Context, caller Caller, id uuid.UUID) error {
	if err := s.store.EndOneSession(ctx, caller, id); err != nil {
		return err
	}
	s.changed()
	return nil
}

// EndOthers ends all of the caller's sessions but the one that their access token
// belongs to, and revokes the user's access tokens, this one included. It returns
// ErrLogInAgain if the token names no session.
func (s *Sessions) EndOthers(ctx context.Context, caller Caller) error {
	if caller.Session == uuid.Nil {
		return ErrLogInAgain
	}
	if err := s.store.EndOtherSessions(ctx, caller); err != nil {
		return err
	}
	s.changed()
	return nil
}

// EndAll ends all sessions of a user on behalf of an admin, and revokes the user's
// access tokens. It returns ErrUserNotFound if there is no such user.
func (s *Sessions) EndAll(ctx context.Context, admin Caller, id int64) error {
	if err := s.store.EndAllSessions(ctx, admin, id); err != nil {
		return err
	}
	s.changed()
	return nil
}
