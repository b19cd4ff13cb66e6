package auth

import "time"

// Link is an activation link to be; the database's clock gives its end.
type Link struct {
	Hash     TokenHash
	Lifetime time.Duration
}

// StoredLink is an activation link as it is kept.
type StoredLink struct {
	ExpiresAt time.Time
	UsedAt    *time.Time
}

// DecideActivation says whether following a link is refused, and if not,
// whether the user becomes active by it. A used link goes on answering, also
// past its end: link scanners and impatient people follow it twice.
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
