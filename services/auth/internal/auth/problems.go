package auth

import (
	"time"

	"lavka/libs/domain/problem"
)

// What can be wrong. Each is told to the client as it stands here.
var (
	ErrLoginTaken         = problem.New(problem.Conflict, "login_taken", "this login is taken; logins are the same in capitals and in small letters")
	ErrActivationNotFound = problem.New(problem.NotFound, "activation_not_found", "there is no such activation link")
	ErrActivationExpired  = problem.New(problem.Gone, "activation_expired", "this activation link is too old; ask for a new one with POST /auth/activation")
	ErrAlreadyActive      = problem.New(problem.Conflict, "already_active", "this user is active already; log in")

	ErrInvalidCredentials = problem.New(problem.Unauthenticated, "invalid_credentials", "the login or the password is wrong")
	errOldPassword        = problem.New(problem.Unauthenticated, "invalid_credentials", "old_password is wrong")
	ErrUserInactive       = problem.New(problem.Forbidden, "user_inactive", "this user is not active yet; follow the activation link, or ask for a new one with POST /auth/activation")
	ErrUserDisabled       = problem.New(problem.Forbidden, "user_disabled", "this user has been disabled")
	ErrTooManyAttempts    = problem.New(problem.TooMany, "too_many_attempts", "too many attempts; wait as long as Retry-After says")
	ErrRefreshInvalid     = problem.New(problem.Unauthenticated, "refresh_token_invalid", "the refresh token is unknown, spent or expired, or its session has ended; log in again")

	ErrUserNotFound      = problem.New(problem.NotFound, "user_not_found", "there is no such user")
	ErrForbidden         = problem.New(problem.Forbidden, "forbidden", "you are no longer an active admin")
	ErrCannotDisableSelf = problem.New(problem.Conflict, "cannot_disable_self", "you can't disable yourself; ask another admin")

	// ErrOverloaded promises that nothing was done.
	ErrOverloaded = problem.New(problem.Unavailable, "overloaded", "too many passwords are being checked right now; nothing was done").Retry(time.Second)
)
