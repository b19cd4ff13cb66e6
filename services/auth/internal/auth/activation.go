package auth

import (
	"time"

	"lavka/libs/domain/problem"
)

// MaxLinks is how many unused activation links a user may have. A new one beyond that
// replaces the oldest.
const MaxLinks = 10

// Link is a new link. Its lifetime starts at the database's current time.
type Link struct {
	Hash     TokenHash
	Lifetime time.Duration
	// Sent means that the link is sent to its user: each attempt to do so makes one.
	// Hash and Lifetime have no meaning then.
	Sent bool
}

// StoredLink is an activation link as stored.
type StoredLink struct {
	ExpiresAt time.Time
	UsedAt    *time.Time
}

// The problems with activation links.
var (
	ErrActivationNotFound = problem.New(problem.NotFound, "activation_not_found", "this activation link is unknown; request a new one with POST /auth/activation")
	ErrActivationExpired  = problem.New(problem.Gone, "activation_expired", "this activation link has expired; request a new one with POST /auth/activation")
	ErrAlreadyActive      = problem.New(problem.Conflict, "already_active", "this user is already active; log in")
)

// DecideActivation decides what following a link does: it returns the refusal, or
// else whether the link is used now and activates the user. A link that was used
// keeps working, even after it expires, because link scanners and impatient users
// follow links twice.
func DecideActivation(now time.Time, link StoredLink, user User) (activate bool, refusal error) {
	switch {
	case user.Status() == Disabled:
		return false, ErrUserDisabled
	case link.UsedAt != nil:
		return false, nil
	case !now.Before(link.ExpiresAt):
		return false, ErrActivationExpired
	}
	return true, nil
}
